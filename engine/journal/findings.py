"""What a check of the journal can find: which object, what is wrong with it, which data and times it affects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

MISSING = "missing"  # it must be there and is not
TRUNCATED = "truncated"  # its end is missing
CHANGED = "changed"  # bytes differ from those written
SWAPPED = "swapped"  # it holds what belongs under another name
UNREADABLE = "unreadable"  # the store gives an error instead of it
HASH_MISMATCH = "hash-mismatch"  # it is as written, and contradicts the hash that another object has of it
HOLE = "hole"  # events are missing though no object is
TAIL_MISSING = "tail-missing"  # the last commits of a boot, which a later object knows of, are not there
ORPHAN = "orphan"  # a pack without commit, as a crash leaves it: information, no error

KINDS = (MISSING, TRUNCATED, CHANGED, SWAPPED, UNREADABLE, HASH_MISMATCH, HOLE, TAIL_MISSING, ORPHAN)


@dataclass(frozen=True, slots=True, order=True)
class Affected:
    """Content of `path` in the source `address` as it was from `from_at` until `to_at`, site time in microseconds.

    An empty path: all changes of that time (then node time). `to_at` None: up to now. `path` is the name of bytes as
    os.fsdecode gives it. `address` is the stream's id if nothing else is known of it.
    """

    address: str
    path: str
    from_at: int
    to_at: int | None


@dataclass(frozen=True, slots=True)
class CheckError:
    """One object and what is wrong with it. `kind` is one of KINDS; `detail` says it in words."""

    object: str
    kind: str
    detail: str
    affected: tuple[Affected, ...] = ()

    def with_affected(self, affected: Iterable[Affected]) -> CheckError:
        """The same, affecting this as well."""
        return replace(self, affected=tuple(dict.fromkeys((*self.affected, *affected))))


@dataclass(slots=True)
class Report:
    """`errors` in the order found, `notes` (orphans) are no errors. `objects` and `bytes` is what was looked at."""

    errors: list[CheckError] = field(default_factory=list)
    notes: list[CheckError] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0


def is_cut_short(content: bytes, end: bytes) -> bool:
    """Whether bytes that must end in `end` lack their end, and it is not just one bit of it that differs."""
    last = content[-len(end) :]
    if len(last) < len(end):
        return True
    return sum((a ^ b).bit_count() for a, b in zip(last, end, strict=True)) > 1
