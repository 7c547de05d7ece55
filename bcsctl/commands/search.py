"""bcsctl search: names in all of the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import json_option, print_json
from bcsctl.settings import home_option, settings

if TYPE_CHECKING:
    from engine.query.search import Hit


@click.command("search", epilog=exits(5))
@click.argument("pattern")
@click.option("--source", "address", metavar="ADDRESS", help="In this source alone.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many.")
@home_option
@json_option
def command(pattern: str, address: str | None, limit: int, home: str | None, as_json: bool) -> None:
    """Find names in all of the history, deleted ones too.

    PATTERN is a glob on names (*.ods), on whole paths when it holds a slash, or a part of a name.

    \b
    Example:  bcsctl search 'q3*.ods' --source finance/sf-db1/files
    """
    opened = journal(settings(home))
    from engine.query.search import search

    from engine.query.session import Session
    from engine.query.streams import find

    with Session(opened) as session:
        stream = find(opened, address).id if address else None
        found = search(session, pattern, stream=stream, limit=limit)
    if as_json:
        print_json({"pattern": pattern, "entries": [hit_json(one) for one in found]})
    else:
        render(found)


def hit_json(hit: Hit) -> dict[str, Any]:
    """One path that was there at some time."""
    raise NotImplementedError


def render(found: Sequence[Hit]) -> None:
    """A table by source and path."""
    raise NotImplementedError
