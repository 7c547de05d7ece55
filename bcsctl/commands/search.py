"""bcsctl search: names in all of the history."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bcsctl.commands.validate import counted
from bcsctl.entries import path_json
from bcsctl.opening import journal
from bcsctl.options import exits, period
from bcsctl.output import BAD, DIM, json_option, local_time, print_json, say, table
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.env.clock import SYSTEM
from engine.model.times import format_size, format_time, parse_size

if TYPE_CHECKING:
    from engine.query.search import Hit


@click.command("search", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("pattern")
@click.option("--source", "address", metavar="ADDRESS", help="In this source alone.")
@click.option("--from", "from_at", metavar="TIME", help="There at this time or later.")
@click.option("--to", "to_at", metavar="TIME", help="There at this time or earlier.")
@click.option("--larger", metavar="SIZE", help="At least this large, as 10MiB.")
@click.option("--smaller", metavar="SIZE", help="At most this large.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many.")
@site_option
@home_option
@json_option
def command(
    pattern: str,
    address: str | None,
    from_at: str | None,
    to_at: str | None,
    larger: str | None,
    smaller: str | None,
    limit: int,
    home: str | None,
    as_json: bool,
) -> None:
    """Find names in all of the history, deleted ones too.

    PATTERN is a glob on names (*.ods), on whole paths when it holds a slash, or a part of a name.

    \b
    Example:  bcsctl search 'q3*.ods' --source finance/sf-db1/files
    """
    now = SYSTEM.now()
    first, last = period(from_at, to_at, now)
    least, most = (parse_size(text) if text else None for text in (larger, smaller))
    opened = journal(settings(home))
    from engine.query.search import search
    from engine.query.session import Session
    from engine.query.streams import find

    with Session(opened) as session:
        stream = find(opened, address).id if address else None
        found = search(
            session, pattern, stream=stream, limit=limit, size_min=least, size_max=most, from_at=first, to_at=last
        )
    if as_json:
        print_json({"pattern": pattern, "entries": [hit_json(one) for one in found]})
    else:
        render(found, limit)


def hit_json(hit: Hit) -> dict[str, Any]:
    """One file at one path: the first and the last point that have it there, and how it was at the last."""
    return {
        "address": str(hit.address),
        **path_json(hit.path),
        "type": hit.type,
        "size": hit.size,
        "mtime_ns": hit.mtime_ns,
        "mode": hit.mode,
        "first": {"point": str(hit.first), "at": format_time(hit.at_first)},
        "last": {"point": str(hit.last), "at": format_time(hit.at_last)},
        "gone": hit.gone,
    }


def render(found: Sequence[Hit], limit: int) -> None:
    """A table by source and path; what is there no more in red, with the last point that has it."""
    rows = [
        [
            (f"{hit.address}:{os.fsdecode(hit.path)}", BAD if hit.gone else None),
            format_size(hit.size) if hit.type == "f" else "-",
            local_time(hit.at_first),
            (local_time(hit.at_last), BAD) if hit.gone else ("there now", None),
            f"point:{hit.last}",
        ]
        for hit in found
    ]
    if rows:
        table(["PATH", "SIZE", "FROM", "UNTIL", "LAST POINT"], rows, right=("SIZE",))
    more = ": --limit shows more" if len(found) == limit else ""
    say(f"{counted(len(found), 'file')}{more}", DIM)
