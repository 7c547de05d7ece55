"""What a restore will do, decided before anything is touched. Pure.

Where paths land: what PATH names lands in the target under its last name; without a PATH the
content of a source with one path lands in the target itself (what is no directory under its
last name), and a source with several keeps the whole paths below the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.model.errors import Damaged, NothingThere
from engine.model.events import DIRECTORY, FILE, Inode

_WILD = frozenset(b"*?[\\")


@dataclass(frozen=True, slots=True)
class Made:
    """One inode to make at `target` (absolute); `links` are its further names."""

    target: bytes
    inode: Inode
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """`directories` parents first; `files` have content; `others` are links, fifos, devices, sockets.

    `bytes` are logical: what the files' sizes add up to, holes and all.
    """

    target: bytes
    directories: tuple[Made, ...]
    files: tuple[Made, ...]
    others: tuple[Made, ...]

    @property
    def bytes(self) -> int:
        return sum(made.inode.size for made in self.files)

    @property
    def names(self) -> int:
        """How many names appear below the target, further names of one inode among them."""
        return sum(1 + len(made.links) for part in (self.directories, self.files, self.others) for made in part)


def base_of(path: bytes | None, source_paths: Sequence[bytes], target: bytes) -> tuple[bytes, bytes]:
    """(path in the source, where that very path lands), for the rules above."""
    if path is not None:
        path = b"/" + path.strip(b"/")
        name = path.rsplit(b"/", 1)[1]
        return path, _join(target, name) if name else target
    if len(source_paths) == 1:
        return source_paths[0], target
    return b"/", target


def plan_restore(
    entries: Iterable[tuple[bytes, Inode]], base: bytes, landing: bytes, target: bytes, source_paths: Sequence[bytes]
) -> RestorePlan:
    """The inodes to make for all `entries` (path, inode) at or below `base`, which lands at `landing`.

    The target itself is a directory: anything else that would land at it goes into it, under its name. `/` is only
    then part of what is restored when the source protects it: for any other it is the way to the source's paths, and
    its owner and mode are no business of the target. NothingThere when nothing is at `base`.
    """
    first: dict[int, tuple[bytes, Inode]] = {}
    links: dict[int, list[bytes]] = {}
    below, lands = _join(base, b""), _join(landing, b"")
    for path, inode in entries:
        if path != base and not path.startswith(below):
            continue
        if _traverses(path):
            raise Damaged(
                f"the history names the path {path.decode('utf-8', 'backslashreplace')}, which would lead elsewhere",
                hint="nothing was written; run `bcsctl check`",
            )
        where = landing if path == base else lands + path[len(below) :]
        if where == target and inode.type != DIRECTORY:
            where = _join(target, path.rsplit(b"/", 1)[1])
        if inode.file_id in first and inode.type != DIRECTORY:
            links.setdefault(inode.file_id, []).append(where)
        else:
            first[inode.file_id] = (where, inode)
    if not first:
        raise NothingThere(f"{base.decode('utf-8', 'replace')} was not there then")
    if base == b"/" and b"/" not in source_paths:
        first = {file_id: found for file_id, found in first.items() if found[0] != landing}
    made = [Made(where, inode, tuple(links.get(file_id, ()))) for file_id, (where, inode) in first.items()]
    made.sort(key=lambda one: one.target)
    return RestorePlan(
        target,
        tuple(one for one in made if one.inode.type == DIRECTORY),
        tuple(one for one in made if one.inode.type == FILE),
        tuple(one for one in made if one.inode.type not in (DIRECTORY, FILE)),
    )


def origins(
    path: bytes | None, source_paths: Sequence[bytes], inside: bytes, *, is_file: bool
) -> list[tuple[bytes, bytes]]:
    """(where it lies below the target, where it came from) of what a restore brings back; `inside` is the source's own
    place there, "" for the target. `is_file`: the source's one path is no directory. Nothing for wildcards, which have
    no one origin.
    """
    if path is not None:
        path = b"/" + path.strip(b"/")
        return [(_below(inside, path.rsplit(b"/", 1)[1]), path)] if _WILD.isdisjoint(path) else []
    if len(source_paths) == 1:
        own = source_paths[0]
        return [(_below(inside, own.rsplit(b"/", 1)[1]) if is_file else inside, own)]
    return [(_below(inside, each.lstrip(b"/")), each) for each in source_paths]


def _below(inside: bytes, name: bytes) -> bytes:
    return inside + b"/" + name if inside and name else inside or name


def _traverses(path: bytes) -> bool:
    """Whether one of an absolute path's names is empty, `.` or `..`. No node takes such a name; but the store is not
    trusted, and a restore may be root's."""
    closed = path + b"/"
    return path != b"/" and (b"//" in closed or b"/./" in closed or b"/../" in closed)


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + name if directory.endswith(b"/") else directory + b"/" + name


def shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Indexes of `sizes`, in order, cut into `count` runs of about equal cost.

    Order is kept within a share, so that neighbours in a frame stay together. A file costs its
    bytes and a fixed price that stands for making it.
    """
    price = 32 * 1024
    whole = sum(sizes) + price * len(sizes)
    cut: list[list[int]] = [[] for _ in range(count)]
    spent = 0
    for index, size in enumerate(sizes):
        cut[min(count - 1, spent * count // max(1, whole))].append(index)
        spent += size + price
    return cut
