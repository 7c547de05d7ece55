"""Make a tree on demand: skeleton, table and map, then hand it to its supervisor.

What is in it is said by who makes it: from the journal on this machine, or as a node tells its host.

Unwritten ranges look like holes to who asks for data (SEEK_DATA): cp(1) does when a file takes less room than it is
long. So files with holes take room for all of it, where there is enough; as they are filled the holes come back. Where
there is not, what copies such a file while it is cold has to go through FUSE, which answers for the file system.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.env.processes import is_root
from engine.fill.base import FUSE, Place, Recipe
from engine.fill.kept import documents, map, table
from engine.fill.life.choosing import choose, why_not
from engine.fill.life.holding import holding, making
from engine.fill.life.recoveries import begin
from engine.fill.life.starting import home_of
from engine.fill.tree import skeleton
from engine.fill.tree.skeleton import Node, Skeleton
from engine.model.errors import Refused
from engine.tree.attributes import Attributes
from engine.tree.settle import sync

HOLES_SHARE, HOLES_BYTES = 0.1, 8 << 30
"""Holes get room for the time if all of them take no more than this share of what is free, and no more bytes."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What is to be made below the directory; directories parents first, the root itself with an empty path."""

    directories: Sequence[Node]
    files: Iterable[Node]
    others: Iterable[Node]


def mechanism_for(target: Path, wanted: str | None, *, sparse: bool = False) -> str:
    """What would fill a tree there; `sparse` says that there is no room for its holes. Refused, with the reasons, when
    nothing can."""
    if sparse and wanted is None and not why_not(FUSE, nearest(target)):
        return FUSE
    return choose(nearest(target), wanted)


def have_room(target: Path, holes: Iterable[int]) -> bool:
    """Whether holes of so many bytes may be given room until they are filled."""
    status = os.statvfs(nearest(target))
    return sum(holes) <= min(HOLES_BYTES, HOLES_SHARE * status.f_bavail * status.f_frsize)


def nearest(target: Path) -> bytes:
    """The directory itself, or the nearest above that is there."""
    while not target.is_dir():
        if target == target.parent:
            raise Refused(f"{target} is no directory")
        target = target.parent
    return os.fsencode(target)


def furnish(place: Place, holes: Mapping[int, int]) -> None:
    """The state directory with what is in it from the beginning; `holes` as in Place.holes."""
    for directory in (place.path, place.mechanism, place.supply):
        durable.make_directories(directory)
    documents.write_holes(place, holes)


def make(
    place: Place,
    recipe: Recipe,
    tree: Callable[[], Tree],
    streams: Iterable[str] = (),
    *,
    note: Callable[[], None] = lambda: None,
    go_on: Callable[[], None] = lambda: None,
    clock: Clock = SYSTEM,
) -> Skeleton:
    """Make the tree in a place that is furnished, and return when it is guarded and can be used. If it can't be made
    nothing stays, the place neither.

    Nobody looks at the sources `streams` meanwhile; `note` is called before the tree can be reached, `go_on` before
    they are looked at again.
    """
    built = False
    try:
        with making(place):
            documents.write_recipe(place, recipe)
            with holding(home_of(place), streams, clock=clock):
                made = _build(place, recipe, tree())
                note()
                built = True
                begin(place, clock)
                go_on()
    except BaseException:
        if not built:
            _take_back(recipe, place)
        raise
    return made


def _build(place: Place, recipe: Recipe, tree: Tree) -> Skeleton:
    hidden, usual = os.fsencode(recipe.hidden), 0
    if recipe.made_dir:
        os.makedirs(recipe.dir)
        usual = stat.S_IMODE(os.stat(recipe.dir).st_mode)
        os.chmod(recipe.dir, 0o700)
    os.mkdir(hidden, 0o700)
    owners = is_root()
    made = skeleton.build(hidden, tree.directories, tree.files, tree.others, owners)
    root = made.directories.pop(b"", None)
    made.shortfalls += skeleton.finish_directories(hidden, made.directories, owners)
    if recipe.made_dir:
        documents.write_root(place, _root(root, usual, recipe))
    _note(place, made)
    sync(hidden)
    return made


def _note(place: Place, made: Skeleton) -> None:
    """The table and the map; holes are filled from the beginning."""
    table.write(place.files, made.files)
    map.make(place.map, made.blocks)
    entries = map.Map(place.map, writing=True)
    try:
        for number, first, end in made.holes:
            file = made.files[number]
            entries.set(file.first_block + first, map.zero_digests(file.size, first, end))
    finally:
        entries.close()


def _root(root: Attributes | None, usual: int, recipe: Recipe) -> documents.Root:
    if root is not None:
        return documents.Root(root.mode, root.uid, root.gid, root.mtime_ns, root.xattrs.hex())
    now = os.stat(recipe.dir)
    return documents.Root(usual, now.st_uid, now.st_gid, now.st_mtime_ns, "")


def _take_back(recipe: Recipe, place: Place) -> None:
    """What was made until it failed."""
    shutil.rmtree(recipe.hidden, ignore_errors=True)
    if recipe.made_dir and os.path.isdir(recipe.dir) and not os.listdir(recipe.dir):
        os.rmdir(recipe.dir)
    shutil.rmtree(place.path, ignore_errors=True)
