"""What a restore in place changes, path by path, as it travels from a node to a host (docs/format.md, "In place").

A turn is a row of a record `turns`; what its path is to be then is an inode of the same batch, under its number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.wire.errors import Malformed

TOPIC = b"turns"
CLEARED, REMOVED, MADE, LINKED = "cleared", "removed", "made", "linked"
REWRITTEN, CHANGED, SETTLED = "rewritten", "changed", "settled"
PARTS = (CLEARED, REMOVED, MADE, LINKED, REWRITTEN, CHANGED, SETTLED)

TURNS, DIRECTORIES, FILES, CHECKED = "turns", "made", "files", "checked"
"""The steps of a restore in place: its turns, the directories that lead to its files, the bytes of these, and once more
without bytes all that the files hold then, for reading back."""

Left = tuple[str, int, int]
"""(type, size, mtime_ns) of what is at a path."""


@dataclass(frozen=True, slots=True)
class Turned:
    """`left`: what the mark found at the path, None for nothing. `target` is the name that a LINKED one goes with;
    `holes` (begin, end) are to be made in a REWRITTEN file."""

    number: int
    part: str
    path: bytes
    left: Left | None = None
    target: bytes = b""
    holes: tuple[tuple[int, int], ...] = ()


def payload(turns: Iterable[Turned]) -> bytes:
    rows = [
        [one.number, one.part, os.fsdecode(one.path), one.left, os.fsdecode(one.target), one.holes] for one in turns
    ]
    return json.dumps(rows, separators=(",", ":")).encode()


def read(raw: bytes) -> Iterator[Turned]:
    """Malformed for what no node of ours would write, or for a path that would lead elsewhere."""
    try:
        for number, part, path, left, target, holes in json.loads(raw):
            of_left = None if left is None else (str(left[0]), int(left[1]), int(left[2]))
            found = tuple((int(begin), int(end)) for begin, end in holes)
            turn = Turned(int(number), str(part), os.fsencode(path), of_left, os.fsencode(target), found)
            if turn.number < 1 or turn.part not in PARTS:
                raise ValueError
            for each in (turn.path, turn.target) if turn.target else (turn.path,):
                if not each.startswith(b"/") or b"\0" in each or {b".", b".."} & set(each.split(b"/")):
                    raise ValueError
            yield turn
    except (ValueError, TypeError, IndexError):
        raise Malformed("a record of turns can't be read") from None
