"""What a look leaves to the next ones, and which big files are left alone for a while.

Comparing a big file in full takes its time, and it may change again at once: it is left alone for several times as long
as that took, or longer where a pace is set. Meanwhile it is pending, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

PACED_BYTES = 4 << 20
PACE = 4.0
"""A file larger than PACED_BYTES is left alone for this many times as long as comparing it took."""

Where = tuple[int, bytes]
"""A name: the directory's file_id, and the name in it."""


@dataclass(slots=True)
class Pending:
    """`again`: what did not hold still, or was not to be had; `behind` says that of some of it the change is known and
    not captured. `later`: big files, and when they are due. `held`: names in directories that are on their way
    elsewhere. Times are monotonic seconds.
    """

    again: set[Where] = field(default_factory=set)
    later: dict[Where, float] = field(default_factory=dict)
    held: set[Where] = field(default_factory=set)
    behind: bool = False
    bytes_a_second: Callable[[], int | None] = lambda: None
    """How fast big files may be read now that are compared in full; None: as fast as PACE allows."""
    paced: dict[int, float] = field(default_factory=dict)
    _sizes: dict[Where, int] = field(default_factory=dict)

    def missed(self, names: Iterable[Where]) -> None:
        """These were not to be had: something else was there than a moment ago."""
        self.again.update(names)
        self.behind = True

    def compared(self, file_id: int, size: int, seconds: float, now: float, read: int) -> None:
        """A look at a file took so long, and read so many bytes of it."""
        if size > PACED_BYTES:
            rate = self.bytes_a_second()
            least = read / rate if rate else 0.0
            self.paced[file_id] = now + max(PACE * seconds, least)

    def must_wait(self, where: Where, file_id: int, size: int, now: float) -> bool:
        """Whether a file was compared so recently that it is left alone for now; then it is put off."""
        due = self.paced.get(file_id, 0.0)
        if size <= PACED_BYTES or due <= now:
            return False
        self.later[where] = due
        self._sizes[where] = size
        return True

    def big(self) -> tuple[int, int]:
        """How many big files wait for a comparison in full, and their bytes."""
        self._sizes = {where: size for where, size in self._sizes.items() if where in self.later}
        return len(self._sizes), sum(self._sizes.values())
