"""What the trace says of numbers that are files no longer."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.agent.capture.hints import Hints
from engine.agent.host.clock import SiteClock
from engine.agent.kept.record import Record
from engine.agent.ranges.base import Unknown
from engine.agent.watch.base import Drained
from engine.env.clock import SYSTEM, Clock


class Traced(Unknown):
    """Says of one inode that it is to be looked at, until it is told to forget it."""

    def __init__(self, key: tuple[int, int]) -> None:
        super().__init__()
        self.keys = {key}

    def dirty(self) -> set[tuple[int, int]]:
        return set(self.keys)

    def forget(self, dev: int, ino: int) -> None:
        self.keys.discard((dev, ino))


@pytest.mark.parametrize("directory", [False, True])
def test_a_directory_that_took_over_the_number_of_a_file_is_not_looked_at_for_ever(
    tmp_path: Path, directory: bool
) -> None:
    path = tmp_path / "it"
    path.mkdir() if directory else path.write_bytes(b"1")
    status = os.stat(path)
    record = Record(tmp_path / "record.sqlite")
    record.put_inode(7, 7, status, b"", b"", status.st_ctime_ns)
    record.put_name(1, b"it", 7, 7)
    writes, watcher = Traced((status.st_dev, status.st_ino)), SimpleNamespace(mechanism="fanotify", drain=Drained)
    unused: Any = watcher
    hints = Hints(unused, writes, record, SiteClock(SYSTEM), {})
    hints.drain()
    assert hints.dirty == (set() if directory else {(1, b"it")})
    assert bool(writes.keys) is not directory
    record.close()


class Turned(Clock):
    """A clock whose wall time is set."""

    wall = 10**15

    def now(self) -> int:
        return self.wall


def test_files_are_compared_with_the_wall_clock_though_site_time_stands_still(tmp_path: Path) -> None:
    """A site's clock that was set back by an hour: what it hands out waits until that is over, files do not."""
    record, clock = Record(tmp_path / "record.sqlite"), Turned()
    site = SiteClock(clock)
    unused: Any = SimpleNamespace(mechanism="fanotify", drain=Drained)
    hints = Hints(unused, Unknown(), record, site, {})
    hints.drain()
    before = hints.drained_at
    for earlier in (0, 3600 * 10**6):
        clock.wall = 10**15 - earlier
        now = clock.boottime()
        site.measure(clock.wall, now, now)
        hints.drain()
        assert hints.drained_at >= before
        assert hints.drained_wall_ns == clock.wall * 1000
    record.close()
