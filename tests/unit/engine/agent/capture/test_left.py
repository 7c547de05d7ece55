"""What no name leads to any more is forgotten at a cost that grows with its number, however many names wait meanwhile:
`rm -r` of a large tree leaves both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from engine.agent.capture.look import Capture

LEFT, HELD, BREATH = 3000, 2000, 64


class Counted:
    """A record in which no name leads to anything, that counts what it is asked."""

    def __init__(self, directories: Iterable[int]) -> None:
        self.asked, self._directories = 0, set(directories)

    def inode(self, file_id: int) -> SimpleNamespace:
        self.asked += 1
        return SimpleNamespace(dev=1, ino=file_id)

    def places_of(self, file_id: int) -> list[tuple[int, bytes]]:
        self.asked += 1
        return []

    def forget(self, file_id: int, breathe: Callable[[], None]) -> list[int]:
        self.asked += 1
        return [file_id] if file_id in self._directories else []


def test_forgetting_many_costs_as_much_each_as_forgetting_few() -> None:
    directories, breaths, unwatched = range(100, 200), [0], []
    capture: Any = Capture.__new__(Capture)
    capture.record = Counted(directories)
    capture.pending = SimpleNamespace(paced={}, held={(each % 300, b"%d" % each) for each in range(HELD)})
    capture.inodes = SimpleNamespace(writes=SimpleNamespace(forget=lambda dev, ino: None))
    capture.outbox = SimpleNamespace(breathe=lambda: breaths.append(0))
    capture.watcher = SimpleNamespace(remove_directory=unwatched.append)
    capture._clock = SimpleNamespace(monotonic=lambda: 5.0)
    capture._limbo = dict.fromkeys(range(LEFT), 4.0) | {LEFT: 6.0}

    capture.forget_the_left()

    assert capture.record.asked == 3 * LEFT
    assert list(capture._limbo) == [LEFT]  # its other name may still turn up
    assert sorted(unwatched) == list(directories)
    assert {where[0] for where in capture.pending.held} == {*range(100), *range(200, 300)}
    assert len(breaths) > LEFT / BREATH - 1  # changes are drained meanwhile, and it can be stopped
