"""A restore from beginning to end: what was there then, a plan, the plan carried out, what came of it.

`prepare` touches nothing, so it is the dry run too; `carry_out` writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from engine.env.clock import SYSTEM, Clock
from engine.env.processes import is_root
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.model.extents import Piece
from engine.model.points import Point
from engine.plan.matching import fixed_part, is_pattern, plan_matching
from engine.plan.restore import RestorePlan, base_of, plan_restore
from engine.query.applied import paths_of
from engine.query.emptied import last_held
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.query.tree import as_named, as_pairs, tree_table
from engine.query.unreadable import Stale, stale
from engine.recovery.readback import read_back
from engine.recovery.restore import Helping, Onto, Progress, Restored, restore
from engine.tree.match import compile_excludes
from engine.tree.settle import Settling, sync
from engine.tree.target import check_target

FEW_FILES = 5_000
"""Up to this many files their extents are asked for by name; for more, all of the stream's are read."""


BYTES_A_SECOND = 150e6
"""What an estimate takes a disk to write."""


def seconds_for(names: int, bytes: int) -> float:
    """How long writing takes, a rough guess: 150 MB a second, a tenth of a millisecond a file, half a second to
    begin."""
    return round(0.5 + bytes / BYTES_A_SECOND + names / 10_000, 1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A restore that could begin: `point` answers it, `base` is what is brought back. `unreadable` is what the agent
    could not read by then: of it older bytes are brought back, if any."""

    stream: StreamInfo
    point: Point
    base: bytes
    plan: RestorePlan
    unreadable: tuple[Stale, ...] = ()
    few: dict[int, list[Piece]] = field(default_factory=dict, repr=False, compare=False)
    """Where the bytes of a few files lie, once that was asked for: a preview and what follows it ask once."""

    @property
    def seconds_estimated(self) -> float:
        return seconds_for(self.plan.names, self.plan.bytes)


@dataclass(slots=True)
class Outcome:
    """What a restore did, in `seconds`. `differences` are what reading back found; `read_back` that it was done."""

    restored: Restored
    seconds: float
    read_back: bool
    differences: list[tuple[bytes, str]] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Every byte was hashed before it was written, and nothing failed or differs."""
        return not self.restored.failures and not self.differences

    @property
    def damaged(self) -> bool:
        """What is there is not what was kept, or it could not be read; a full disk, say, is no damage."""
        return self.restored.damaged or bool(self.differences)


def prepare(
    journal: Journal, session: Session, stream: StreamInfo, point: Point, path: bytes | None, target: Path
) -> Prepared:
    """Look at what was there and at the target. NothingThere for an unknown path, Refused for a full target."""
    check_target(target)
    return prepare_for(journal, session, stream, point, path, os.fsencode(target.absolute()))


def prepare_for(
    journal: Journal, session: Session, stream: StreamInfo, point: Point, path: bytes | None, into: bytes
) -> Prepared:
    """Look at what was there, for a target that someone else looks at. NothingThere for an unknown path.

    A path with wildcards that is no file's name stands for all that it matches.
    """
    path = as_named(session, stream.id, point.position, path) if path is not None else None
    own = paths_of(journal, stream.id, point.at)
    base, landing = base_of(path, own, into)
    try:
        table = tree_table(session, stream.id, point.position, base)
        plan = plan_restore(as_pairs(table), base, landing, into, own)
    except NothingThere as error:
        if path is None:
            none = NothingThere(f"nothing of {stream.address} was there at point:{point.position}")
            raise last_held(none, session, stream.id, point.position, own) from None
        if not is_pattern(path):
            raise error
        table = tree_table(session, stream.id, point.position, fixed_part(base))
        plan = plan_matching(list(as_pairs(table)), base, into, compile_excludes([base]))
    unreadable = stale(session, stream.id, point.position, as_pairs(table))
    return Prepared(stream, point, base, plan, tuple(unreadable))


def carry_out(
    journal: Journal,
    session: Session,
    prepared: Prepared,
    *,
    verify: bool,
    progress: Progress,
    helping: Helping | None = None,
    clock: Clock = SYSTEM,
    onto: Onto | None = None,
    owners: bool | None = None,
    reading: Progress | None = None,
) -> Outcome:
    """Write what was prepared, to the disk itself; with `verify` read everything back from there afterwards.

    With `helping` a large restore is shared out to processes; `onto` says what the target holds. `owners`: whether
    files are given theirs, by default for root. `reading` is told what is read back, as `progress` what is written.
    """
    began = clock.monotonic()
    stream, plan = prepared.stream, prepared.plan
    found = pieces_of(session, prepared)
    owners = is_root() if owners is None else owners
    with Settling(plan.target) as settling:

        def moved(files: int, count: int) -> None:
            settling.wrote(count)
            progress(files, count)

        done = restore(journal, stream.id, plan, found, owners=owners, progress=moved, helping=helping, onto=onto)
    sync(plan.target)  # what is called restored is there after a power cut too
    differences = read_back(journal, stream.id, plan, found, done, owners, reading) if verify else []
    prepared.few.clear()
    return Outcome(done, clock.monotonic() - began, verify, differences)


def data_bytes(session: Session, prepared: Prepared) -> int | None:
    """What is to be written, without the files' holes; None for so many files that finding out takes a while."""
    if len(prepared.plan.files) > FEW_FILES:
        return None
    return sum(piece.length for found in pieces_of(session, prepared).values() for piece in found)


def pieces_of(session: Session, prepared: Prepared) -> dict[int, list[Piece]]:
    """Where the bytes of the plan's files lie, by file_id."""
    ids = [made.inode.file_id for made in prepared.plan.files]
    if len(ids) > FEW_FILES:
        return pieces(session, prepared.stream.id, prepared.point.position)
    if not prepared.few:
        prepared.few.update(pieces(session, prepared.stream.id, prepared.point.position, ids))
    return prepared.few
