"""What stands already where a restore wants to write, and what becomes of it. Pure.

A directory where one is planned stays; anything else of the planned type is replaced; what is of another type is in
conflict. What no plan names is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.model.events import DIRECTORY, FILE, SYMLINK
from engine.plan.restore import Made, RestorePlan


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands at a path, at a glance. `number` tells its inode (device, inode), `names` how many it has."""

    type: str
    size: int
    mtime_ns: int
    number: tuple[int, int] = (0, 0)
    names: int = 1
    rdev: int = 0
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class Conflict:
    """At `path` stands something of type `there`, and the plan has type `wanted`."""

    path: bytes
    there: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands in the way of a plan, by path.

    `directories` stay; `alike` are inodes that look as planned (type, size, time), whose bytes nobody has read yet;
    `replaced` are all other names that are taken, with what stands there; `settled` further names that lead to an
    inode of `alike` already.
    """

    directories: frozenset[bytes] = frozenset()
    alike: frozenset[bytes] = frozenset()
    settled: frozenset[bytes] = frozenset()
    replaced: Mapping[bytes, Seen] | None = None
    conflicts: tuple[Conflict, ...] = ()

    @property
    def in_the_way(self) -> Mapping[bytes, Seen]:
        return self.replaced or {}

    @property
    def files(self) -> int:
        """How many files would be replaced."""
        return sum(seen.type == FILE for seen in self.in_the_way.values())

    @property
    def bytes(self) -> int:
        """What the files that would be replaced hold."""
        return sum(seen.size for seen in self.in_the_way.values() if seen.type == FILE)

    @property
    def nothing(self) -> bool:
        """Whether no planned name is taken, directories aside."""
        return not self.in_the_way and not self.alike and not self.conflicts


def stand(plan: RestorePlan, seen: Mapping[bytes, Seen]) -> Standing:
    """Judge what was `seen` at the names of a plan, those of `ways` among them."""
    directories, conflicts = set(), []
    for path in ways(plan):
        there = seen.get(path)
        if there is not None and there.type == DIRECTORY:
            directories.add(path)
        elif there is not None:
            conflicts.append(Conflict(path, there.type, DIRECTORY))
    alike, settled, replaced = set(), set(), {}
    for made in (*plan.files, *plan.others):
        first = seen.get(made.target)
        same = first is not None and is_alike(made, first)
        for name in (made.target, *made.links):
            there = seen.get(name)
            if there is None:
                continue
            if there.type == DIRECTORY or there.type != made.inode.type:
                conflicts.append(Conflict(name, there.type, made.inode.type))
            elif same and name == made.target:
                alike.add(name)
            elif same and first is not None and there.number == first.number:
                settled.add(name)
            else:
                replaced[name] = there
    return Standing(frozenset(directories), frozenset(alike), frozenset(settled), replaced, tuple(conflicts))


def is_alike(made: Made, there: Seen) -> bool:
    """Whether what stands there looks as planned; one with further names that nobody planned does not."""
    inode = made.inode
    if there.type != inode.type or there.mtime_ns != inode.mtime_ns or there.names > 1 + len(made.links):
        return False
    if inode.type == FILE:
        return there.size == inode.size
    return there.target == inode.target if inode.type == SYMLINK else there.rdev == inode.rdev


def ways(plan: RestorePlan) -> list[bytes]:
    """Every directory below the target that has to be there, parents first, those on the way to others among them."""
    needed = {made.target for made in plan.directories if made.target != plan.target}
    for name in names(plan):
        above = _parent(name)
        while len(above) > len(plan.target) and above not in needed:
            needed.add(above)
            above = _parent(above)
    return sorted(needed)


def names(plan: RestorePlan) -> Iterator[bytes]:
    """Every name that a plan makes."""
    for made in (*plan.directories, *plan.files, *plan.others):
        yield made.target
        yield from made.links


def _parent(path: bytes) -> bytes:
    return path.rsplit(b"/", 1)[0] or b"/"
