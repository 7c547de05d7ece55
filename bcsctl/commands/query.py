"""bcsctl query: read-only SQL over the history."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import click

from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import DIM, json_option, print_json, say, table
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.counts import counted


@click.command("query", cls=SiteCommand, epilog=exits(4))
@click.argument("sql")
@site_option
@home_option
@json_option
def command(sql: str, home: str | None, as_json: bool) -> None:
    """Ask the history in SQL, read-only.

    Views: events, points, streams, commits, audit. One SELECT, in bounded time and memory.

    \b
    Example:  bcsctl query "select class, count(*) from points group by all"
    """
    from engine.query.user import run_sql

    columns, rows = run_sql(journal(settings(home)), sql)
    if as_json:
        print_json({"columns": list(columns), "rows": [[cell_json(cell) for cell in row] for row in rows]})
    else:
        render(columns, rows)


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; columns that hold only numbers are aligned to the right."""
    numeric = [
        name
        for at, name in enumerate(columns)
        if rows and all(isinstance(row[at], int | float | Decimal) or row[at] is None for row in rows)
    ]
    table(columns, [[cell_text(cell) for cell in row] for row in rows], right=numeric)
    say(counted(len(rows), "row"), DIM)


def cell_text(cell: Any) -> str:
    """A value for the eye."""
    if cell is None:
        return "-"
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return cell.astimezone().isoformat(" ", "microseconds")
    return str(cell)


def cell_json(cell: Any) -> Any:
    """A value as JSON has it: times in ISO 8601, decimals as text, bytes that are no UTF-8 as {"base64": …}."""
    if cell is None or isinstance(cell, bool | int | float | str):
        return cell
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(cell).decode("ascii")}
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return cell.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return str(cell)
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, dict):
        return {str(key): cell_json(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple | set):
        return [cell_json(value) for value in cell]
    return str(cell)
