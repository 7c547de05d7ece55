"""How much of a file a thread needs, by the system call in which it stands."""

from __future__ import annotations

import pytest

from engine.fill.pre_access import waiting
from engine.fill.pre_access.fanotify import Event
from engine.fill.pre_access.waiting import _Numbers, _of

NUMBERS = _Numbers(mmap=9, truncate=76, ftruncate=77, fallocate=285, reads=frozenset({0, 17}))
ALL = (0, 0, False)


@pytest.mark.parametrize(
    ("call", "offset", "length", "needed"),
    [
        ((0, 3, 0, 4096, 0, 0, 0), 8192, 4096, (8192, 4096, True)),  # read(2)
        ((1, 3, 0, 4096, 0, 0, 0), 8192, 4096, (8192, 4096, False)),  # write(2)
        ((17, 3, 0, 4096, 8192, 0, 0), 8192, 4096, (8192, 4096, True)),
        ((9, 0, 4096, 1, 1, 3, 8192), 8192, 4096, ALL),
        ((285, 3, 0x08, 8192, 4096, 0, 0), 8192, 4096, ALL),  # collapse
        ((285, 3, 0x20, 8192, 4096, 0, 0), 8192, 4096, ALL),  # insert
        ((285, 3, 0x03, 8192, 4096, 0, 0), 8192, 4096, (8192, 4096, False)),  # punch
        ((76, 0, 10_000, 0, 0, 0, 0), 10_000, 0, (9_999, 1, False)),
        ((77, 3, 0, 0, 0, 0, 0), 0, 0, (0, 1, False)),
        ((16, 3, 0x40049409, 4, 0, 0, 0), 0, 0, ALL),  # FICLONE
        ((), 8192, 0, (8192, 0, False)),  # who can't be looked at: what the event says
        ((426, 3, 1, 0, 0, 0, 0), 8192, 4096, (8192, 4096, False)),  # io_uring_enter(2)
    ],
)
def test_what_is_needed(call: tuple[int, ...], offset: int, length: int, needed: tuple[int, int, bool]) -> None:
    assert _of(call, Event(7, 1, offset, length), NUMBERS) == needed


def test_nobody_is_looked_at_for_a_range_of_odd_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_call", lambda tid: pytest.fail("it was"))
    assert waiting.needed(Event(7, 1, 5, 100)) == (5, 100, False)


def test_a_thread_that_is_gone_can_not_be_looked_at() -> None:
    assert waiting.needed(Event(7, 2**22 + 1, 4096, 8192)) == (4096, 8192, False)
