"""bcsctl history: which policies were applied, when, by whom, from which commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from bcsctl.commands.status import moment
from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import BUSY, json_option, local_time, print_json, table, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option


@click.command("history", cls=SiteCommand, epilog=exits(4, 5))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the newest last.")
@site_option
@home_option
@json_option
def command(limit: int, home: str | None, as_json: bool) -> None:
    """List the applied policies, with commit and author.

    \b
    Example:  bcsctl history --limit 5
    """
    from engine.query.applied import applied

    found = applied(journal(settings(home)), limit)
    if as_json:
        print_json({"applied": found})
    else:
        render(found)


def render(found: Sequence[Mapping[str, Any]]) -> None:
    """A table, oldest first."""
    if not found:
        tell("nothing was applied yet")
        return
    rows = [
        [
            str(one["number"]),
            local_time(moment(one["applied_at"])),
            one["by"] or "-",
            ((one["commit"] or "-")[:12] + (" (dirty)" if one["dirty"] else ""), BUSY if one["dirty"] else None),
            str(len(one["sources"])),
        ]
        for one in found
    ]
    table(["NUMBER", "APPLIED", "BY", "COMMIT", "SOURCES"], rows, right=("NUMBER", "SOURCES"))
