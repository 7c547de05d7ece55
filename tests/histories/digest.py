"""The state of paths, read from the disk. Shares nothing with the engine, so that one mistake can't be made twice."""

from __future__ import annotations

import hashlib
import os
import stat as st
from collections.abc import Callable
from dataclasses import dataclass, field

GRID_BYTES = 16384
"""Contents are hashed in pieces of this size, so that a torn file can be told from a wrong one."""

_LETTERS = {st.S_IFREG: "f", st.S_IFDIR: "d", st.S_IFLNK: "l", st.S_IFIFO: "p", st.S_IFSOCK: "s"}


@dataclass(frozen=True, slots=True)
class State:
    """What is at one path. `pieces` are hashes of its content, GRID_BYTES each."""

    type: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()
    target: str = ""
    size: int = 0
    pieces: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def whole(self) -> tuple[object, ...]:
        """All but the content."""
        return (self.type, self.mode, self.uid, self.gid, self.mtime_ns, self.xattrs, self.target, self.size)


@dataclass(frozen=True, slots=True)
class Digest:
    """A tree. `links` has the first name of each path whose inode has several."""

    states: dict[str, State]
    links: dict[str, str]


def hash_of(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()


def observe(path: str, status: os.stat_result | None = None, old: State | None = None) -> State | None:
    """What is at a path, None for nothing. With `old` the content is known to be that one's."""
    try:
        status = status or os.lstat(path)
        kind = _LETTERS[st.S_IFMT(status.st_mode)]
        names = [] if kind in "ps" else os.listxattr(path, follow_symlinks=False)
        kept = tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in names))
        target = os.readlink(path) if kind == "l" else ""
        pieces: tuple[bytes, ...] = ()
        if kind == "f":
            pieces = old.pieces if old is not None and old.size == status.st_size else _pieces(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    size = status.st_size if kind == "f" else 0
    mode = st.S_IMODE(status.st_mode)
    return State(kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns, kept, target, size, pieces)


def _pieces(path: str) -> tuple[bytes, ...]:
    with open(path, "rb", buffering=0) as file:
        data = memoryview(file.read())
    return tuple([hash_of(data[at : at + GRID_BYTES]) for at in range(0, len(data), GRID_BYTES)])


def digest(root: str, wanted: Callable[[str, bool], bool] = lambda path, is_directory: True) -> Digest:
    """All that is below `root`, itself as ".". `wanted` says of relative paths whether they count."""
    states: dict[str, State] = {}
    names: dict[tuple[int, int], list[str]] = {}
    waiting = ["."]
    while waiting:
        path = waiting.pop()
        full = root if path == "." else f"{root}/{path}"
        status = os.lstat(full)
        is_directory = st.S_ISDIR(status.st_mode)
        if path != "." and not wanted(path, is_directory):
            continue
        state = observe(full, status)
        assert state is not None, full
        states[path] = state
        if is_directory:
            waiting += [name if path == "." else f"{path}/{name}" for name in os.listdir(full)]
        else:
            names.setdefault((status.st_dev, status.st_ino), []).append(path)
    several = [sorted(each) for each in names.values() if len(each) > 1]
    return Digest(states, {path: each[0] for each in several for path in each})


def differences(expected: Digest, found: Digest) -> list[str]:
    """Every path that differs, in words."""
    said = []
    for path in sorted({*expected.states, *found.states}):
        a, b = expected.states.get(path), found.states.get(path)
        if a != b:
            said.append(f"{path!r}: {difference(a, b)}")
        elif expected.links.get(path) != found.links.get(path):
            said.append(f"{path!r}: a link of {expected.links.get(path)!r}, found {found.links.get(path)!r}")
    return said


def difference(expected: State | None, found: State | None) -> str:
    if expected is None or found is None:
        return f"should {'not be there' if expected is None else 'be there'}"
    names = ("type", "mode", "uid", "gid", "mtime_ns", "xattrs", "target", "size")
    pairs = zip(names, expected.whole, found.whole, strict=True)
    told = [f"{name} should be {a!r}, is {b!r}" for name, a, b in pairs if a != b]
    wrong = [at for at, (a, b) in enumerate(zip(expected.pieces, found.pieces, strict=False)) if a != b]
    if wrong:
        told.append(f"content differs in pieces {wrong[:8]} of {len(expected.pieces)}")
    return "; ".join(told)
