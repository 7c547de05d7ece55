"""Compare two trees on disk, sharing nothing with the code that reads and writes trees.

The comparer is the judge of restores, in tests and in drills, so it reads by itself: a fault in
walking or applying cannot hide itself here. Only what is kept at all (`NOT_KEPT`) is agreed on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as st
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine.tree.attributes import NOT_KEPT
from engine.tree.paths import shown

Value = str | int | bytes | None
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Difference:
    """`path` is relative to both roots (b"." is the root itself); a side that lacks it has None.

    `what` is one of: name, unreadable, type, link, size, content, holes, mode, owner, mtime, rdev,
    target, `xattr NAME`.
    """

    path: bytes
    what: str
    left: Value
    right: Value

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.what}: {self.left!r} != {self.right!r}"


@dataclass(slots=True)
class _Tree:
    """One side: names with lstat, in byte order; the first name of each inode; what could not be read."""

    root: bytes
    names: dict[bytes, os.stat_result] = field(default_factory=dict)
    first: dict[tuple[int, int], bytes] = field(default_factory=dict)
    unreadable: dict[bytes, OSError] = field(default_factory=dict)

    def full(self, path: bytes) -> bytes:
        return self.root if path == b"." else os.path.join(self.root, path)

    def link(self, path: bytes) -> bytes | None:
        """The first name of the inode when `path` is a further one."""
        status = self.names[path]
        first = self.first[(status.st_dev, status.st_ino)]
        return None if first == path else first


def compare(
    left_root: bytes,
    right_root: bytes,
    *,
    owners: bool = True,
    times: bool = True,
    holes: bool = False,
    exclude: Callable[[bytes], bool] | None = None,
) -> list[Difference]:
    """Every difference between two trees, by path; an empty list says that they are equal.

    Names, types, content, sizes, modes, owners, mtimes, device numbers, targets, extended attributes and
    which names are hard links of each other; with `holes`, also where files have data. `exclude` is asked
    with relative paths. What can't be read on either side is a difference: unread is not equal.
    """
    left, right = _load(left_root, exclude), _load(right_root, exclude)
    found: list[Difference] = []
    for path in sorted({*left.names, *right.names, *left.unreadable, *right.unreadable}):
        if path in left.unreadable or path in right.unreadable:
            reasons = [t.unreadable[path].strerror if path in t.unreadable else None for t in (left, right)]
            found.append(Difference(path, "unreadable", *reasons))
        elif path not in left.names or path not in right.names:
            present = [_letter(t.names[path]) if path in t.names else None for t in (left, right)]
            found.append(Difference(path, "name", *present))
        else:
            found += _compare_inode(path, left, right, owners, times, holes)
    return found


def digest(root: bytes, *, owners: bool = True, times: bool = True) -> bytes:
    """32 bytes that stand for all that `compare` looks at, holes aside; equal for equal trees. Raises OSError."""
    tree = _load(root, None)
    for error in tree.unreadable.values():
        raise error
    total = hashlib.blake2b(digest_size=32)
    for path, status in sorted(tree.names.items()):
        facts: list[object] = [path, _letter(status), tree.link(path)]
        if facts[2] is None:
            facts += _facts(tree.full(path), status, owners, times).items()
            facts.append(_content_hash(tree.full(path)) if st.S_ISREG(status.st_mode) else None)
        total.update(repr(facts).encode("ascii", "backslashreplace") + b"\n")
    return total.digest()


def _load(root: bytes, exclude: Callable[[bytes], bool] | None) -> _Tree:
    tree = _Tree(root)
    below: list[bytes] = [b"."]
    while below:
        path = below.pop()
        try:
            status = tree.names[path] = os.lstat(tree.full(path))
            if st.S_ISDIR(status.st_mode):
                names = os.listdir(tree.full(path))
                children = [name if path == b"." else path + b"/" + name for name in names]
                below += [child for child in children if exclude is None or not exclude(child)]
        except OSError as error:
            tree.unreadable[path] = error
    for path, status in sorted(tree.names.items()):
        tree.first.setdefault((status.st_dev, status.st_ino), path)
    return tree


def _compare_inode(
    path: bytes, left: _Tree, right: _Tree, owners: bool, times: bool, holes: bool
) -> Iterator[Difference]:
    a, b = left.names[path], right.names[path]
    if _letter(a) != _letter(b):
        yield Difference(path, "type", _letter(a), _letter(b))
        return
    links = left.link(path), right.link(path)
    if links[0] != links[1]:
        yield Difference(path, "link", *links)
    elif links[0] is not None:
        return  # compared under its first name
    try:
        facts_a = _facts(left.full(path), a, owners, times)
        facts_b = _facts(right.full(path), b, owners, times)
        for what in sorted({*facts_a, *facts_b}):
            if facts_a.get(what) != facts_b.get(what):
                yield Difference(path, what, facts_a.get(what), facts_b.get(what))
        if st.S_ISREG(a.st_mode):
            yield from _compare_content(path, left.full(path), right.full(path), holes)
    except OSError as error:
        yield Difference(path, "unreadable", error.strerror, os.fsencode(error.filename or b""))


def _facts(full: bytes, status: os.stat_result, owners: bool, times: bool) -> dict[str, Value]:
    """All that is not content, by the name under which a difference is reported."""
    kind = _letter(status)
    facts: dict[str, Value] = {}
    if kind != "l":
        facts["mode"] = oct(st.S_IMODE(status.st_mode))
    if owners:
        facts["owner"] = f"{status.st_uid}:{status.st_gid}"
    if times:
        facts["mtime"] = status.st_mtime_ns
    if kind == "f":
        facts["size"] = status.st_size
    if kind == "l":
        facts["target"] = os.readlink(full)
    if kind in "cb":
        facts["rdev"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    for name in _xattr_names(full):
        if name not in NOT_KEPT:
            facts[f"xattr {name}"] = os.getxattr(full, name, follow_symlinks=False)
    return facts


def _xattr_names(full: bytes) -> list[str]:
    try:
        return sorted(os.listxattr(full, follow_symlinks=False))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def _compare_content(path: bytes, left: bytes, right: bytes, holes: bool) -> Iterator[Difference]:
    with _reading(left) as a, _reading(right) as b:
        at = 0
        while True:
            block_a, block_b = os.pread(a, _BLOCK, at), os.pread(b, _BLOCK, at)
            common = min(len(block_a), len(block_b))
            if block_a[:common] != block_b[:common]:
                first = next(i for i in range(common) if block_a[i] != block_b[i])
                left_byte, right_byte = f"{block_a[first]:02x}", f"{block_b[first]:02x}"
                yield Difference(path, "content", f"byte {at + first}: {left_byte}", f"byte {at + first}: {right_byte}")
                break
            if common == 0:  # one has ended; sizes were compared as such
                break
            at += common
        if holes and (data := [_data(a), _data(b)])[0] != data[1]:
            yield Difference(path, "holes", *data)


def _data(fd: int) -> str:
    """Where data is, as text: "0+4096 1048576+4096"."""
    size, at, parts = os.fstat(fd).st_size, 0, []
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no more data
                break
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        parts.append(f"{start}+{at - start}")
    return " ".join(parts)


def _content_hash(full: bytes) -> str:
    content = hashlib.blake2b(digest_size=32)
    at = 0
    with _reading(full) as fd:
        while block := os.pread(fd, _BLOCK, at):
            content.update(block)
            at += len(block)
    return content.hexdigest()


@contextmanager
def _reading(full: bytes) -> Iterator[int]:
    fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _letter(status: os.stat_result) -> str:
    letter = st.filemode(status.st_mode)[0]
    return "f" if letter == "-" else letter
