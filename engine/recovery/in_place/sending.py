"""A restore in place as a stream of batches, for the host whose tree it is (docs/format.md, "In place").

First what is to change, path by path; then the bytes that its files lack; then, without bytes, the hashes of all that
they hold afterwards, by which the host reads them back. Every path has a number of its own, which stands for its inode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from blake3 import blake3

from engine.journal.open import Journal
from engine.model.events import FILE, Inode
from engine.model.extents import Piece
from engine.plan.in_place import Turn
from engine.plan.restore import Made, RestorePlan
from engine.recovery.in_place.prepare import Prepared, left_of
from engine.recovery.sending import LSNS_A_BATCH, TARGET, Rows, Sending
from engine.wire.batch import HASH_BYTES, encode
from engine.wire.turns import (
    CHANGED,
    CHECKED,
    CLEARED,
    FILES,
    LINKED,
    MADE,
    REMOVED,
    REWRITTEN,
    SETTLED,
    TOPIC,
    TURNS,
    Turned,
    payload,
)

TURNS_A_BATCH = 5_000


class InPlaceSending:
    """All batches of one restore in place, as `Sending` has them. Each may be asked for at any time, on any thread."""

    def __init__(self, journal: Journal, id: str, prepared: Prepared, *, verify: bool) -> None:
        self.id = id
        self._turns = list(_turned(prepared))
        stream, files = prepared.stream.id, list(_files(prepared, self._turns))
        plan = RestorePlan(TARGET, (), tuple(made for made, _, _ in files), ())
        lacking = {made.inode.file_id: pieces for made, pieces, _ in files}
        self._content = Sending(journal, id, stream, plan, lacking)
        whole = {made.inode.file_id: pieces for made, _, pieces in files}
        self._whole = Sending(journal, id, stream, plan, whole) if verify else None
        checked = [number for number, name in enumerate(_names(self._whole)) if name == FILES] if self._whole else []
        self._steps: list[tuple[str, int]] = [
            *((TURNS, start) for start in range(0, len(self._turns), TURNS_A_BATCH)),
            *((name, number) for number, name in enumerate(_names(self._content))),
            *((CHECKED, number) for number in checked),
        ]
        self.fingerprint = self._fingerprint()

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def steps(self) -> list[tuple[str, int]]:
        """(step, how many batches it has), in order."""
        return [(name, len(list(run))) for name, run in groupby(name for name, _ in self._steps)]

    def batch(self, number: int, *, data: bool = True) -> list[bytes]:
        """Batch `number`, from 0, as buffers. Damage of the journal is told in it; any other error is raised."""
        step, at = self._steps[number]
        if step != TURNS:
            inner = self._whole if step == CHECKED and self._whole is not None else self._content
            return inner.batch(at, data=data and step != CHECKED)
        first = number * LSNS_A_BATCH + 1
        rows, turns = Rows(first), self._turns[at : at + TURNS_A_BATCH]
        for turned, right in turns:
            if right is not None:
                rows.inode(right, turned.number)
        rows.add("record", 0, TOPIC, payload(turned for turned, _ in turns))
        buffers, _ = encode(self.id, 1, first, self.fingerprint, rows.tables, [])
        return buffers

    def _fingerprint(self) -> bytes:
        hasher = blake3(self._content.fingerprint)
        hasher.update(self._whole.fingerprint if self._whole is not None else b"")
        hasher.update(payload(turned for turned, _ in self._turns))
        found = hasher.digest(HASH_BYTES)
        self._content.fingerprint = found  # they are batches of this plan
        if self._whole is not None:
            self._whole.fingerprint = found
        return found


def _names(sending: Sending | None) -> list[str]:
    return [name for name, count in (sending.steps if sending else ()) for _ in range(count)]


def _turned(prepared: Prepared) -> Iterator[tuple[Turned, Inode | None]]:
    """Every path that is touched, numbered from 1, and what is to be there."""
    plan, number = prepared.plan, 0
    parts: tuple[tuple[str, Sequence[Turn]], ...] = (
        *((CLEARED, plan.cleared), (REMOVED, plan.removed), (MADE, plan.made)),
        *((REWRITTEN, plan.rewritten), (CHANGED, plan.changed)),
    )
    for part, turns in parts:
        for turn in turns:
            number += 1
            holes = tuple(prepared.holes_to_make(turn)) if part == REWRITTEN else ()
            right = turn.right if part not in (CLEARED, REMOVED) else None
            yield Turned(number, part, turn.path, left_of(turn.left), holes=holes), right
    for turn, target in plan.linked:
        number += 1
        yield Turned(number, LINKED, turn.path, left_of(turn.left), target), None
    for path, inode in plan.settled:
        number += 1
        yield Turned(number, SETTLED, path), inode


def _files(
    prepared: Prepared, turns: Sequence[tuple[Turned, Inode | None]]
) -> Iterator[tuple[Made, Sequence[Piece], Sequence[Piece]]]:
    """Of each file whose bytes are sent: where it goes, the pieces that it lacks, and all that it then has."""
    rewritten: Mapping[bytes, Turn] = {turn.path: turn for turn in prepared.plan.rewritten}
    for turned, right in turns:
        if right is None or right.type != FILE or turned.part not in (MADE, REWRITTEN):
            continue
        made, whole = Made(turned.path, replace(right, file_id=turned.number)), prepared.after[turned.path]
        yield made, prepared.pieces_to_write(rewritten[turned.path]) if turned.part == REWRITTEN else whole, whole
