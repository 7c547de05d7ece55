"""Make a tree on demand from the journal on this machine: look, plan, and have it made (engine.fill.life.making).

What takes long for large trees is left for later: of the bytes only those of small files are looked up, and of files
with large holes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from engine.env.boot import boot_id
from engine.env.clock import SYSTEM, Clock
from engine.env.randomness import token_hex
from engine.fill.base import Place, Recipe
from engine.fill.kept import documents, names
from engine.fill.life import making
from engine.fill.life.making import Tree, have_room, nearest
from engine.fill.tree import conditions
from engine.fill.tree.skeleton import Node
from engine.model.times import format_size
from engine.plan.restore import Made
from engine.query import asof, sql
from engine.query.extents import extent_table
from engine.query.session import Session
from engine.recovery.on_demand import index
from engine.recovery.on_demand.history import Touched, names_then
from engine.recovery.on_demand.supply import first_of
from engine.recovery.restoring import Prepared
from engine.tree.attributes import from_inode
from engine.tree.target import check_target

SMALL_BYTES, SMALL_FILES, SMALL_BYTES_MAX = 4 << 20, 20_000, 512 << 20
"""Of files up to so many bytes, of so many files and bytes in all, it is looked up at once where their bytes lie."""

ID_BYTES = 6
RATE_BYTES = 200_000_000
AWAY_SECONDS = 60.0
NO_ROOM = "its files have {} of holes, too much to set room aside for"


@dataclass(frozen=True, slots=True)
class Terms:
    """How a tree is to be filled. `mechanism` None: the best there is. `journal` and `master_key` are where the filler
    finds them. `rate_bytes` a second for what nobody asks for, 0 for no limit."""

    home: Path
    journal: Path
    master_key: Path
    by: str
    mechanism: str | None = None
    rate_bytes: int = RATE_BYTES
    away_seconds: float = AWAY_SECONDS
    touched: Touched = field(default_factory=lambda: Touched((), False))
    go_on: Callable[[Recipe], None] = lambda recipe: None
    """At the source's own place: have its history go on from the point. Called before capture looks there again."""
    order: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A tree that can be used from now on. `shortfalls` are attributes that could not be set, `why` says why another
    mechanism than the best one fills it."""

    place: Place
    recipe: Recipe
    shortfalls: tuple[str, ...]
    seconds: float
    why: str = ""


def mechanism_for(target: Path, wanted: str | None) -> str:
    """What would fill a tree there. Refused, with the reasons, when nothing can."""
    return making.mechanism_for(target, wanted)


def chosen(session: Session, prepared: Prepared, wanted: str | None) -> tuple[str, str]:
    """What would fill this very tree, and why, where that is not the best there is. Refused when nothing can."""
    target = Path(os.fsdecode(prepared.plan.target))
    return _chosen(target, holes_of(session, prepared), wanted)


def _chosen(target: Path, holes: Mapping[int, int], wanted: str | None) -> tuple[str, str]:
    if have_room(target, holes.values()):
        return making.mechanism_for(target, wanted), ""
    mechanism = making.mechanism_for(target, wanted, sparse=True)
    other = wanted is None and mechanism != making.mechanism_for(target, None)
    return mechanism, NO_ROOM.format(format_size(sum(holes.values()))) if other else ""


def make(session: Session, prepared: Prepared, address: str, terms: Terms, clock: Clock = SYSTEM) -> Begun:
    """Make the tree, and return when it is guarded and can be used. Refused where it can't be; then nothing stays."""
    began = clock.monotonic()
    target = Path(os.fsdecode(prepared.plan.target))
    made_dir = check_target(target)
    place = documents.place_of(terms.home, token_hex(ID_BYTES))
    lasting = conditions.lasting(nearest(target))
    holes = holes_of(session, prepared)
    sparse = set() if have_room(target, holes.values()) else set(holes)
    mechanism, why = _chosen(target, holes, terms.mechanism)
    making.furnish(place, {} if sparse else holes)
    recipe = _recipe(prepared, address, terms, place, mechanism, made_dir, lasting, clock)
    recipe = replace(recipe, bytes=recipe.bytes - sum(holes.values()))  # holes are nothing to wait for

    def note() -> None:
        if terms.touched.own:
            names.write(place.names, names_then(session, prepared))

    made = making.make(
        *(place, recipe, lambda: _tree(session, prepared, place, sparse), terms.touched.streams),
        note=note, go_on=lambda: terms.go_on(recipe) if terms.touched.own else None, clock=clock,
    )  # fmt: skip
    return Begun(place, recipe, tuple(str(each) for each in made.shortfalls), clock.monotonic() - began, why)


def _recipe(
    prepared: Prepared,
    address: str,
    terms: Terms,
    place: Place,
    mechanism: str,
    made_dir: bool,
    lasting: bool,
    clock: Clock,
) -> Recipe:
    plan, point = prepared.plan, prepared.point
    target, id = os.path.realpath(os.fsdecode(plan.target)), place.path.name
    return Recipe(
        id=id,
        address=address,
        stream=prepared.stream.id,
        position=str(point.position),
        point_at=point.at,
        point_class=point.point_class,
        base=os.fsdecode(prepared.base),
        dir=target,
        hidden=f"{target}/.bcs-{id}",
        made_dir=made_dir,
        lasting=lasting,
        mechanism=mechanism,
        by=terms.by,
        begun_at=clock.now(),
        boot=boot_id(),
        files=len(plan.files),
        bytes=plan.bytes,
        rate_bytes=terms.rate_bytes,
        away_seconds=terms.away_seconds,
        module="engine.recovery.on_demand",
        supply={"journal": str(terms.journal), "master_key": str(terms.master_key)},
        order=terms.order,
    )


def _tree(session: Session, prepared: Prepared, place: Place, sparse: set[int]) -> Tree:
    plan = prepared.plan
    known = _pieces(session, prepared, sparse)
    index.write(first_of(place), known)
    return Tree(
        list(_nodes(plan.directories, plan.target)),
        _nodes(plan.files, plan.target, data_of(known, sparse)),
        _nodes(plan.others, plan.target),
    )


def holes_of(session: Session, prepared: Prepared) -> dict[int, int]:
    """How many bytes of holes files have at least, by file_id: so much less their events bring than they are long."""

    def read() -> dict[int, int]:
        found = asof.as_of(session, prepared.stream.id, prepared.point.position)
        return dict(session.rows(sql.fill("covered", events=found.events)))

    covered = session.reading(read)
    inodes = (made.inode for made in prepared.plan.files)
    missing = {inode.file_id: inode.size - covered.get(inode.file_id, 0) for inode in inodes}
    return {file_id: count for file_id, count in missing.items() if count > 0}


def _pieces(session: Session, prepared: Prepared, sparse: Iterable[int]) -> pa.Table:
    """Where the bytes of sparse and of small files lie."""
    wanted, count, total = set(sparse), 0, 0
    for made in sorted(prepared.plan.files, key=lambda made: made.inode.size):
        size = made.inode.size
        if size > SMALL_BYTES or count >= SMALL_FILES or total >= SMALL_BYTES_MAX:
            break
        if size:
            wanted.add(made.inode.file_id)
            count, total = count + 1, total + size
    return extent_table(session, prepared.stream.id, prepared.point.position, wanted)


def data_of(pieces: pa.Table, sparse: Iterable[int]) -> dict[int, tuple[tuple[int, int], ...]]:
    """The ranges with data of sparse files, (offset, length), neighbours joined."""
    found: dict[int, list[tuple[int, int]]] = {file_id: [] for file_id in sparse}
    if found:
        rows = pieces.filter(pc.is_in(pieces["file_id"], pa.array(sorted(found), pa.uint64())))
        columns = (rows[name].to_pylist() for name in ("file_id", "offset", "length"))
        for file_id, offset, length in zip(*columns, strict=True):
            ranges = found[file_id]
            if ranges and sum(ranges[-1]) >= offset:
                ranges[-1] = (ranges[-1][0], offset + length - ranges[-1][0])
            else:
                ranges.append((offset, length))
    return {file_id: tuple(ranges) for file_id, ranges in found.items()}


def _nodes(
    made: Sequence[Made], target: bytes, data: dict[int, tuple[tuple[int, int], ...]] | None = None
) -> Iterator[Node]:
    for one in made:
        below = [path[len(target) :].strip(b"/") for path in (one.target, *one.links)]
        ranges = None if data is None else data.get(one.inode.file_id)
        yield Node(below[0], one.inode.file_id, from_inode(one.inode), tuple(below[1:]), ranges)
