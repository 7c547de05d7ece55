"""Files that are touched through mappings all the time and are none of ours, such as libraries: not to be traced.

Every program that starts touches them. Where that is most of what the kernel traces, it costs more to read than all
the rest. So those that show again and again, and were never asked about, are left out by the filter; as soon as one is
asked about it is traced again, and counts as just touched. It decides by counting and sets no filter itself.
"""

from __future__ import annotations

from collections.abc import Iterable

LEFT_OUT_MAX = 16
"""The kernel goes through all of them at each touch."""

TAKES = 100
"""It is left out once it has shown in so many takes."""

ANEW_TAKES = 20_000
"""After so many it is found out anew which they are."""

_COUNTED_MAX = 4096

Key = tuple[int, int]
"""(device as the kernel numbers it, inode)."""


class Strangers:
    """`left_out` are those that the filter is to leave out."""

    def __init__(self) -> None:
        self.left_out: set[Key] = set()
        self._takes = 0
        self._counted: dict[Key, int] = {}
        self._ours: set[Key] = set()

    def shown(self, touched: Iterable[Key]) -> bool:
        """These showed in a take, and nobody has asked about them; whether `left_out` is others now."""
        before = set(self.left_out)
        self._takes += 1
        if self._takes % ANEW_TAKES == 0:
            self.left_out.clear()
            self._counted.clear()
        for key in touched:
            count = self._counted.get(key, 0) + 1
            self._counted[key] = count
            if count >= TAKES and len(self.left_out) < LEFT_OUT_MAX and key not in self._ours:
                self.left_out.add(key)
        if len(self._counted) > _COUNTED_MAX:
            self._counted.clear()
        return self.left_out != before

    def asked(self, key: Key) -> bool:
        """Someone asks about a file: whether it was left out. It never is again."""
        if key not in self.left_out:
            return False
        self.left_out.discard(key)
        self._ours.add(key)
        return True

    def conditions(self) -> str:
        """The filter's: on `s_dev` and `i_ino`."""
        return "".join(f" && (s_dev != {kernel} || i_ino != {ino})" for kernel, ino in sorted(self.left_out))
