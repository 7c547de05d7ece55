"""What a source of write ranges is, and the one that knows nothing.

Ranges say where to compare, never what happened: whoever asks reads those bytes and compares them with what it knows.
What no range can express (a collapse, an exchange, lost records) is the range of the whole file. Growth is never taken
for an append: the bytes past the size that was known are compared besides the ranges, whatever these say.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import pairwise
from typing import Protocol

Ranges = list[tuple[int, int]]
"""(offset, length) of each range, ascending, neither overlapping nor touching."""

END = 1 << 62
"""Beyond any file."""

WHOLE = (0, END)
"""The range of everything."""

RANGES_MAX = 1024
"""More ranges than this in one file are merged with their neighbours: reading a little more is cheaper."""

SMALL_BYTES = 64 << 10
"""Files up to this size are compared whole: no range saves anything there."""


class Writes(Protocol):
    """Where known files may differ from the last look at them. One thread uses it.

    Order of use, for each look at an open regular file: fstat, `of`, read, `looked`. A range that came up between `of`
    and `looked` stays for the next look, and so do all of them when `looked` is never called since reading failed.
    """

    @property
    def mechanism(self) -> str:
        """'trace', 'clone' or 'none': what tells of files so far. Of several file systems the best one's."""
        ...

    @property
    def costs(self) -> str:
        """One sentence on what is not known, and what that costs; '' when there is nothing to say."""
        ...

    def protect(self, dev: int, fd: int) -> None:
        """Watch the writes on the file system with this st_dev, on which `fd` is open. Idempotent."""
        ...

    def take(self) -> None:
        """Fetch what the kernel has: after the watcher's drain, so that every event drained has its ranges here."""
        ...

    def of(self, dev: int, ino: int, fd: int, size: int) -> Ranges | None:
        """Where the file behind `fd` may differ from the last look that was `looked`; None: anywhere.

        `dev` and `ino` are its st_dev and st_ino, `size` its size. Ranges may reach beyond the end.
        """
        ...

    def knows(self, dev: int, ino: int, size: int) -> int | None:
        """How many bytes of the first `size` `of` would name; None when it would say: anywhere. Touches nothing."""
        ...

    def reading(self, dev: int, ino: int, fd: int) -> int:
        """What to read the file's bytes from after `of`: `fd`, or a copy of it that stands still, and stays theirs."""
        ...

    def looked(self, dev: int, ino: int) -> None:
        """All that the last `of` named has been read and compared: everything, where that was None."""
        ...

    def settled(self, dev: int, ino: int, size: int) -> None:
        """The file has just been found as it was known, by its numbers and times: as good as a look at all of it."""
        ...

    def dirty(self) -> set[tuple[int, int]]:
        """(st_dev, st_ino) of files to look at though no event may ever say so; each again until that is done."""
        ...

    def scan(self, dev: int, ino: int) -> bool:
        """The file is mapped, or was: its dirty pages are to be among what the next `of` names. False: can't be had."""
        ...

    def mapped(self, files: Set[tuple[int, int]]) -> set[tuple[int, int]]:
        """A pass over all processes found these (st_dev, st_ino) mapped to store into.

        Those of them of which it can't be told here where.
        """
        ...

    def forget(self, dev: int, ino: int) -> None:
        """The file is gone, or nobody's business."""
        ...

    def lose(self) -> None:
        """Changes may have happened unseen: anything may differ in every file, until it was looked at."""
        ...

    def close(self) -> None:
        """Release everything. A second close is fine."""
        ...


class Unknown:
    """Knows nothing: every change means a comparison of the whole file."""

    mechanism = "none"

    def __init__(self, why: str = "") -> None:
        """`why` completes the sentence 'which bytes of a file changed is not known, since ...'."""
        self.costs = (
            f"Which bytes of a file changed is not known, since {why}: big files are read whole after a change, "
            "at a pace; stores through a mapping are found by looking again and again, and what io_submit(2) writes "
            "when the file is closed."
            if why
            else ""
        )

    def protect(self, dev: int, fd: int) -> None:
        pass

    def take(self) -> None:
        pass

    def of(self, dev: int, ino: int, fd: int, size: int) -> Ranges | None:
        return None

    def knows(self, dev: int, ino: int, size: int) -> int | None:
        return None

    def reading(self, dev: int, ino: int, fd: int) -> int:
        return fd

    def looked(self, dev: int, ino: int) -> None:
        pass

    def settled(self, dev: int, ino: int, size: int) -> None:
        pass

    def dirty(self) -> set[tuple[int, int]]:
        return set()

    def scan(self, dev: int, ino: int) -> bool:
        return False

    def mapped(self, files: Set[tuple[int, int]]) -> set[tuple[int, int]]:
        return set(files)

    def forget(self, dev: int, ino: int) -> None:
        pass

    def lose(self) -> None:
        pass

    def close(self) -> None:
        pass


def merged(spans: list[tuple[int, int]], count_max: int = RANGES_MAX) -> list[tuple[int, int]]:
    """(start, end) spans in order, those that overlap or touch made one; nearest neighbours too beyond `count_max`."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = (found[-1][0], end)
        elif end > start:
            found.append((start, end))
    if len(found) <= count_max:
        return found
    gaps = sorted(after[0] - before[1] for before, after in pairwise(found))
    widest = gaps[len(found) - count_max - 1]
    joined = found[:1]
    for start, end in found[1:]:
        if start - joined[-1][1] <= widest:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def clipped(spans: list[tuple[int, int]], size: int) -> Ranges:
    """Spans as (offset, length) within the first `size` bytes."""
    return [(start, min(end, size) - start) for start, end in spans if start < size]
