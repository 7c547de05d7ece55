"""What batches that wait may take of memory, of all sources of an agent together; what is over stays in the spool."""

from __future__ import annotations

import threading

BYTES_MAX = 48 << 20


class Memory:
    """Bytes lent and given back. For any number of threads."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.bytes_lent = 0
        self._lock = threading.Lock()

    @property
    def full(self) -> bool:
        return self.bytes_lent >= self.bytes_max

    def lend(self, count: int, *, must: bool = False) -> bool:
        """Whether so many bytes may be kept; they may if they `must`, and are counted all the same."""
        with self._lock:
            if not must and self.bytes_lent + count > self.bytes_max:
                return False
            self.bytes_lent += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self.bytes_lent -= count
