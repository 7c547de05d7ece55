"""A drill by on-demand start: the trees are used while they are cold, as in the hour in which it counts.

RTO is the time from the beginning to the first check that passes over the cold trees, all of them being there. Then
they are cancelled, filled, or filled and read back, and taken away. Their state lies in the drill's own directory: no
other recovery of this machine is touched, and `recover list` shows none of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.env.clock import Clock
from engine.fill.life import recoveries, rehearsed
from engine.fill.life.recoveries import Recovery
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.counts import counted
from engine.model.errors import BcsError, Damaged, VerificationFailed
from engine.model.policy.drills import APPLICATION, CANCEL, CHECKSUMS, VERIFY, Check
from engine.model.times import format_about, format_size
from engine.query.extents import pieces
from engine.query.session import Session
from engine.recovery.drill.checks import Back, rows_of
from engine.recovery.drill.evidence import CANCELLING, FILL, FIRST_READS, RESTORE, Evidence, Row
from engine.recovery.drill.scene import Asked, Told, scene_of
from engine.recovery.drill.sources import failed, restored
from engine.recovery.fill import holds
from engine.recovery.on_demand import making
from engine.recovery.on_demand.making import Begun
from engine.recovery.restore import Restored
from engine.recovery.restoring import Outcome, Prepared
from engine.recovery.word import Word
from engine.tree.paths import shown


@dataclass(frozen=True, slots=True)
class Filling:
    """Where fillers find the journal and its key, and in whose name trees are made."""

    journal: Path
    master_key: Path
    by: str


@dataclass(frozen=True, slots=True)
class Cold:
    """One drill by on-demand start. `began` is when it did, monotonic."""

    journal: Journal
    session: Session
    asked: Asked
    place: Path
    words: Mapping[str, Word]
    evidence: Evidence
    told: Told
    clock: Clock
    began: float

    @property
    def whole(self) -> bool:
        """Whether all sources of the group can be used."""
        return len(self.evidence.sources) == len(self.asked.policy.sources)


@dataclass(frozen=True, slots=True)
class Tree:
    """A source that can be used."""

    back: Back
    begun: Begun

    def now(self) -> Recovery:
        return recoveries.look(self.begun.place)


def rehearse(cold: Cold, ready: Sequence[tuple[str, Prepared]], filling: Filling | None, vouched: bool) -> None:
    """Have the evidence say what came of it. Whatever happens no tree is left."""
    trees: list[Tree] = []
    with ExitStack() as stack:
        stack.callback(_cancel, cold, trees)
        for address, prepared in ready:
            cold.told("beginning", 0, 0)
            tree = _begin(cold, address, prepared, filling)
            if tree is not None:
                trees.append(tree)
        back = [tree.back for tree in trees]
        cold.evidence.on_demand = {
            "mechanisms": sorted({tree.begun.recipe.mechanism for tree in trees}),
            "usable_seconds": round(cold.clock.monotonic() - cold.began, 3) if cold.whole else None,
            "afterwards": cold.asked.afterwards,
        }
        _use(cold, back, vouched)
        asked = [check for check in cold.asked.checks if check.name == APPLICATION]
        cold.evidence.checks += _rows(cold, asked[:1], back, vouched)
        if cold.asked.afterwards != CANCEL:
            whole = [tree.back for tree in trees if _fill(cold, tree)]
            if cold.asked.afterwards == VERIFY:
                cold.evidence.checks += _rows(cold, [Check(CHECKSUMS)], whole, vouched)


def _begin(cold: Cold, address: str, prepared: Prepared, filling: Filling | None) -> Tree | None:
    """Make one tree, and the row that says so; None when it could not be."""
    if filling is None:
        cold.evidence.checks.append(failed(address, "nothing here can fill a tree on demand", False))
        return None
    terms = making.Terms(rehearsed.trees_of(cold.place), filling.journal, filling.master_key, filling.by)
    try:
        begun = making.make(cold.session, prepared, address, terms, cold.clock)
    except (BcsError, OSError) as error:
        why = f"{error.message} ({error.hint})" if isinstance(error, BcsError) and error.hint else str(error)
        cold.evidence.checks.append(failed(address, why, isinstance(error, Damaged | VerificationFailed)))
        return None
    recipe, plan = begun.recipe, prepared.plan
    text = f"{counted(recipe.files, 'file')} can be used, by {recipe.mechanism}"
    cold.evidence.checks.append(Row(RESTORE, True, text, begun.seconds, address))
    word = cold.words.get(address, Word())
    counts = (recipe.files, plan.names, recipe.bytes)
    cold.evidence.sources.append(
        restored(
            *(cold.session, address, prepared.stream.id, prepared.point, counts, begun.seconds, word),
            cold.evidence.moment,
        )
    )
    short = [text.replace(recipe.hidden, recipe.dir) for text in begun.shortfalls]
    done = Restored(recipe.files, plan.names, recipe.bytes, shortfalls=short)
    return Tree(Back(address, prepared, Outcome(done, begun.seconds, False)), begun)


def _use(cold: Cold, back: Sequence[Back], vouched: bool) -> None:
    """The commands over the cold trees, one after the other; without any, first reads. The first that passes is what
    RTO is measured by."""
    for check in cold.asked.commands or (None,):
        cold.told("checking", 0, 0)
        rows = _rows(cold, [check], back, vouched) if check is not None else [_first_reads(cold, each) for each in back]
        cold.evidence.checks += rows
        if cold.evidence.rto_seconds is None and cold.whole and rows and all(row.passed for row in rows):
            cold.evidence.rto_seconds = round(cold.clock.monotonic() - cold.began, 3)


def _rows(cold: Cold, checks: Sequence[Check], back: Sequence[Back], vouched: bool) -> list[Row]:
    scene = scene_of(cold.asked, cold.place, cold.evidence)
    return rows_of(cold.journal, cold.session, checks, back, scene, cold.told, cold.clock, vouched)


def _first_reads(cold: Cold, back: Back) -> Row:
    """Whether all names are there, and a piece of some files is what was protected: read where it is cold."""
    began, plan = cold.clock.monotonic(), back.prepared.plan
    try:
        missing = rehearsed.missing(plan.target, {name for made in plan.files for name in (made.target, *made.links)})
        if missing:
            why = f"{counted(len(missing), 'name')} missing, {shown(missing[0])} for one"
            return Row(FIRST_READS, False, why, cold.clock.monotonic() - began, back.address, differs=True)
        count, wrong = _read_some(cold, back)
    except (BcsError, OSError) as error:
        return Row(FIRST_READS, False, str(error), cold.clock.monotonic() - began, back.address)
    seconds = cold.clock.monotonic() - began
    if wrong:
        return Row(FIRST_READS, False, f"{shown(wrong)} differs", seconds, back.address, differs=True)
    text = f"all names of files are there, {counted(count, 'file')} read in part"
    return Row(FIRST_READS, True, text, seconds, back.address)


def _read_some(cold: Cold, back: Back) -> tuple[int, bytes]:
    """(how many files were read, the first that is not as it was): the last piece of each, all over the tree."""
    prepared = back.prepared
    files = [made for made in prepared.plan.files if made.inode.size]
    some = files[:: max(1, len(files) // rehearsed.READ_FILES)][: rehearsed.READ_FILES]
    stream = prepared.stream.id
    known = pieces(cold.session, stream, prepared.point.position, [made.inode.file_id for made in some])
    reader, count = DataReader(cold.journal), 0
    for made in some:
        data = [piece for piece in known.get(made.inode.file_id, ()) if piece.data is not None]
        if not data:
            continue
        fd = os.open(made.target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not holds(fd, data[-1], reader, stream):
                return count, made.target
        finally:
            os.close(fd)
        count += 1
    return count, b""


def _fill(cold: Cold, tree: Tree) -> bool:
    """Have a tree filled, and the row that says so; whether it is whole. What is written is compared with its hash on
    its way."""
    began = cold.clock.monotonic()
    told = cold.told
    size = tree.begun.recipe.bytes
    why, differs = rehearsed.filled(tree.begun.place, lambda done: told("filling", done, size), cold.clock)
    seconds, now = cold.clock.monotonic() - began, tree.now()
    if not why:
        about = format_about(round((cold.clock.monotonic() - cold.began) * 1e6))
        why = f"{format_size(now.recipe.bytes)} filled, {about} after the beginning"
        cold.evidence.checks.append(Row(FILL, True, why, seconds, tree.back.address))
        return True
    cold.evidence.checks.append(Row(FILL, False, why, seconds, tree.back.address, differs=differs))
    return False


def _cancel(cold: Cold, trees: Sequence[Tree]) -> None:
    """Take away what is not filled. One that can't be is a row: what is left the next drill removes."""
    for tree in trees:
        try:
            now = tree.now()
            if now.living:
                recoveries.cancel(now, cold.clock)
        except (BcsError, OSError) as error:
            cold.evidence.checks.append(Row(CANCELLING, False, str(error), 0.0, tree.back.address))
