"""What a host's agent may be asked to do for a recovery, by name, and in which form that travels.

An errand goes to an agent as {id, way, how}. A plain restore, of which agents have always known, is {id, dir, verify}:
an agent that does not know an errand finds no directory in it, and does nothing rather than something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.model.errors import UsageError
from engine.plan.owners import GROUP, KEEP, NONE, USER, Line

RESTORE, LOOK, SCRATCH = "restore", "look", "scratch"
"""Make a tree; say what stands in its way, and touch nothing; make it to be checked."""
CHECK, PROMOTE, DISCARD = "check", "promote", "discard"
"""What becomes of a tree that was made to be checked."""
OF_SCRATCH = (CHECK, PROMOTE, DISCARD)
DRILL = "drill"
"""Make a drill of a group: not granted as restores are, but as long as somebody looks after it."""


def owners_told(lines: Iterable[Line]) -> list[list[Any]]:
    """A table of owners as it travels: [line, kind, old, new] each."""
    return [[line.number, line.kind, line.old, line.new] for line in lines]


def owners_read(told: object) -> str | tuple[Line, ...]:
    """Empty when nothing was said, KEEP, NONE, or a table. UsageError for anything else."""
    if not told:
        return ""
    if told in (KEEP, NONE):
        return str(told)
    try:
        lines = tuple(Line(int(number), str(kind), str(old), str(new)) for number, kind, old, new in _rows(told))
    except (TypeError, ValueError):
        lines = ()
    if not lines or any(line.kind not in (USER, GROUP) for line in lines):
        raise UsageError("what is said of owners can't be read", hint="say keep, none, or map:FILE")
    return lines


def _rows(told: object) -> list[Any]:
    return told if isinstance(told, list) else []


def where_of(granted: Mapping[str, Any]) -> str:
    """The directory that a grant names."""
    return str(granted.get("dir") or granted.get("how", {}).get("dir", ""))
