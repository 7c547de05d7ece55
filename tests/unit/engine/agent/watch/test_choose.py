"""Which watcher is taken, and how the weakest of them behaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.agent.watch.base import WatchRefused
from engine.agent.watch.choose import MECHANISMS, open_watcher
from engine.agent.watch.scan import ScanWatcher
from engine.env.clock import Clock
from engine.model.errors import UsageError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class TurnedClock(Clock):
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def opened(paths: list[bytes], **options: object) -> str:
    watcher = open_watcher(paths, **{"environment": {}, **options})  # type: ignore[arg-type]
    watcher.close()
    watcher.close()
    return watcher.mechanism


@needs_root
def test_the_best_is_taken_and_nothing_is_registered(tmp_path: Path) -> None:
    watcher = open_watcher([os.fsencode(tmp_path)], environment={})
    try:
        assert watcher.mechanism in ("fanotify", "fanotify-directories")
        (tmp_path / "f").write_bytes(b"x")
        assert not watcher.drain().dirty
    finally:
        watcher.close()


@needs_root
def test_fanotify_has_no_costs_to_tell(tmp_path: Path) -> None:
    watcher = open_watcher([b"/dev/shm"], force="fanotify")
    assert watcher.costs == ""
    watcher.close()


def test_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    assert opened([os.fsencode(tmp_path / "not/there/yet")]) in MECHANISMS[:3]
    (tmp_path / "file").write_bytes(b"x")
    assert opened([os.fsencode(tmp_path / "file")]) in MECHANISMS[:3]


@pytest.mark.parametrize("mechanism", ["inotify", "scan"])
def test_forced_by_argument_or_environment(tmp_path: Path, mechanism: str) -> None:
    paths = [os.fsencode(tmp_path)]
    assert opened(paths, force=mechanism) == mechanism
    assert opened(paths, environment={"BCS_WATCH": mechanism}) == mechanism
    assert opened(paths, force=mechanism, environment={"BCS_WATCH": "scan"}) == mechanism


def test_an_unknown_mechanism_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="telepathy"):
        opened([os.fsencode(tmp_path)], force="telepathy")
    with pytest.raises(UsageError, match="telepathy"):
        opened([os.fsencode(tmp_path)], environment={"BCS_WATCH": "telepathy"})


@needs_root
def test_weaker_ones_in_order(tmp_path: Path) -> None:
    paths = [os.fsencode(tmp_path)]
    assert opened(paths, weaker_than="fanotify") == "fanotify-directories"
    assert opened(paths, weaker_than="fanotify-directories") == "inotify"
    assert opened(paths, weaker_than="inotify", force="fanotify") == "scan"
    assert opened(paths, weaker_than="scan") == "scan"


@needs_root
def test_a_file_system_without_identity_refuses_fanotify() -> None:
    with pytest.raises(WatchRefused) as raised:
        opened([b"/proc"], force="fanotify")
    assert raised.value.details["mechanism"] == "fanotify"
    assert opened([b"/proc"]) in MECHANISMS[1:]


def test_scanning_asks_for_a_look_every_interval(tmp_path: Path) -> None:
    clock = TurnedClock()
    watcher = ScanWatcher(interval_seconds=30, clock=clock)
    watcher.add_directory(1, os.fsencode(tmp_path))
    watcher.add_file(1, b"f", os.fsencode(tmp_path))
    assert not watcher.drain()
    assert not watcher.wait(10)
    assert not watcher.drain()
    assert watcher.wait(1000)
    assert clock.seconds == 130
    found = watcher.drain()
    assert found.overflowed
    assert not found.dirty
    assert not watcher.drain()
    assert "30 s" in watcher.costs
    with pytest.raises(FileNotFoundError):
        watcher.add_directory(2, os.fsencode(tmp_path / "gone"))
    watcher.close()
