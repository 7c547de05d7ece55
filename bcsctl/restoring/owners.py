"""`--owners`: whose restored files are. keep, none, or map:FILE with a table (engine.plan.owners)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcsctl.opening import Scene
from engine.env.clock import SYSTEM
from engine.model.errors import UsageError
from engine.model.points import Moment

if TYPE_CHECKING:
    from engine.plan.owners import Owners


@dataclass(frozen=True, slots=True)
class Ownership:
    """`kept`: whether files are given owners at all, None for where we may; `mapped` whom else they belong to."""

    kept: bool | None = None
    mapped: Owners | None = None


def ownership(there: Scene, text: str) -> Ownership:
    """What --owners says. UsageError for a table that can't be read, or names whom nobody knows."""
    from engine.plan.owners import KEEP, NONE, parse_owners

    if text in ("", KEEP):
        return Ownership(True if text else None)
    if text == NONE:
        return Ownership(False)
    from engine.env.accounts import known_here
    from engine.query.points import point_for
    from engine.recovery.owners import known_then

    table = table_of(text)
    newest = point_for(there.session, there.stream.id, Moment("latest"), SYSTEM.now())
    then = known_then(there.journal, there.session, there.stream, newest.position)
    return Ownership(True, parse_owners(table, then, known_here))


def as_sent(text: str) -> str:
    """What a node is told: keep, none, or the table itself. UsageError for a table that makes no sense."""
    from engine.plan.owners import KEEP, NONE, parse_table

    if text in ("", KEEP, NONE):
        return text
    table = table_of(text)
    if not parse_table(table):
        raise UsageError(f"the owners' table of {text} has no line", hint="write: user OLD = NEW")
    return table


def table_of(text: str) -> str:
    """The table that map:FILE names."""
    from engine.plan.owners import MAP

    how, _, file = text.partition(":")
    if how != MAP or not file:
        raise UsageError(f"--owners {text} says nothing", hint="write keep, none, or map:FILE")
    try:
        return Path(file).expanduser().read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the owners' table {file} can't be read: {error}", hint="see `bcsctl restore --help`"
        ) from None
