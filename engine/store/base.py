"""What a store is: named, immutable objects. Nothing here does I/O.

What we ask of a medium: an object appears whole or not at all; once `put` or `commit` has returned it survives a power
cut; of several who create one key exactly one succeeds; a listing shows everything that was there before it began.
What we don't: that a listing is a snapshot, that anything can be changed, that keys can be renamed.

Decorators wrap a Store and are one: faults, and for remote stores retries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from engine.env.durable import Buffer, Data
from engine.model.errors import Damaged, Failed, Refused

__all__ = [
    "AlreadyThere",
    "Buffer",
    "Data",
    "Item",
    "Missing",
    "Store",
    "Upload",
    "check_key",
    "check_prefix",
    "check_range",
    "cut_short",
    "is_key",
]

KEY_LENGTH_MAX = 512
PART_LENGTH_MAX = 255  # NAME_MAX, pathconf(3)

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_KEY = re.compile(rf"{_PART}(/{_PART})*", re.ASCII)


class AlreadyThere(Refused):
    """The key exists, with equal content or other. Nothing was changed."""

    code = "already-there"

    def __init__(self, key: str) -> None:
        super().__init__(f"object {key} is already there", details={"object": key})
        self.key = key


class Missing(Failed):
    """No object has this key. Whether that is damage, the caller knows."""

    code = "missing-object"

    def __init__(self, key: str) -> None:
        super().__init__(f"there is no object {key}", details={"object": key})
        self.key = key


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a listing; `size` in bytes."""

    key: str
    size: int


class Upload(Protocol):
    """An object being written. As a `with` block it aborts what was not committed. For one thread at a time."""

    def write(self, data: Data) -> None:
        """Add to the end. The buffer may be reused afterwards."""

    def commit(self) -> None:
        """Make it appear, whole and durable. Raises AlreadyThere; either way the upload is over."""

    def abort(self) -> None:
        """Drop it without a trace. Idempotent, and harmless after `commit`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.abort()


class Store(Protocol):
    """Objects by key. Every method may be called from several threads at once.

    Keys are relative, parts of [A-Za-z0-9._-] joined by '/', no part begins with '.'; at most 512 characters, 255 a
    part; anything else raises ValueError. No key may be a directory of another, 'a' and 'a/b': a store that notices
    raises ValueError. Trouble
    with the medium raises OSError or engine.model.errors.Failed; after it a put, commit or delete may have happened.
    """

    def put(self, key: str, data: Data) -> None:
        """Create an object of one buffer or several in a row. Durable when it returns; visible whole or not at all.

        Raises AlreadyThere, with equal content too, and changes nothing: then the one that is there is durable.
        Repeating a put whose outcome is unknown is safe: AlreadyThere then means that it, or another, has won.
        """

    def open_put(self, key: str) -> Upload:
        """Begin an object of unknown size; nothing is visible before `commit`. Conflicts show at `commit`."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object. Raises Missing."""
        ...

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises Missing, and Damaged if the object ends before.

        A length of 0 gives b"" without looking. Negative numbers raise ValueError.
        """
        ...

    def size(self, key: str) -> int:
        """Bytes of an object. Raises Missing."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[Item]:
        """Every object whose key begins with the string `prefix` ('' for all) and sorts behind `after`, by key.

        Order is that of the keys' bytes; all levels below are included; 'L0/a' finds 'L0/ab/c', so end a directory
        with '/'. Complete objects only. It is not a snapshot: what is put or deleted while it runs may show or not,
        each on its own, so of two objects put in order the second may show alone. Look again before calling it a hole.
        """
        ...

    def delete(self, *keys: str) -> None:
        """Remove objects, durably once all of them have gone; many at once cost less than one by one.

        Idempotent: missing ones are fine. Killed in between, or raising, some may have gone. Reads that are under way
        may still finish.
        """

    def local_path(self, key: str) -> Path | None:
        """The path of the object itself if it is a local file, else None. Never copies. Raises Missing.

        For reading only; the file never changes, and goes when the object is deleted.
        """
        ...


def is_key(text: str) -> bool:
    """Whether an object may be called so."""
    return len(text) <= KEY_LENGTH_MAX and _KEY.fullmatch(text) is not None and _parts_fit(text)


def check_key(key: str) -> None:
    """Raises ValueError unless `key` is a key."""
    if not is_key(key):
        raise ValueError(
            f"{key[:80]!r} is no object key: parts of [A-Za-z0-9._-] joined by '/', none beginning with '.'"
        )


def check_prefix(prefix: str) -> None:
    """Raises ValueError unless some key begins with `prefix`."""
    if prefix and _KEY.fullmatch(prefix + "x") is None:
        raise ValueError(f"no object key begins with {prefix[:80]!r}")


def check_range(offset: int, length: int) -> None:
    """Raises ValueError for negative numbers."""
    if offset < 0 or length < 0:
        raise ValueError(f"range of {length} bytes at {offset}: neither may be negative")


def _parts_fit(key: str) -> bool:
    return len(key) <= PART_LENGTH_MAX or max(map(len, key.split("/"))) <= PART_LENGTH_MAX


def cut_short(key: str, offset: int, asked: int, got: int) -> Damaged:
    """The error for an object that ends inside the range asked for."""
    return Damaged(
        f"object {key} ends early: asked for {asked} bytes at {offset}, got {got}",
        hint="check the journal; the object may be there in a replica",
        details={"object": key, "offset": offset, "bytes_asked": asked, "bytes_got": got},
    )
