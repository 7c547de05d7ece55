"""What is written meanwhile goes to the disk in the background, and no failure of the disk is lost on the way."""

from __future__ import annotations

import threading

import pytest

from engine.model.errors import Failed
from engine.tree.settle import Settling

MUCH = Settling.EVERY_BYTES


def test_syncs_once_enough_was_written_and_one_at_a_time() -> None:
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def sync(directory: bytes) -> None:
        asked.append(directory)
        begun.set()
        assert go_on.wait(60)

    with Settling(b"/tree", sync) as settling:
        settling.wrote(MUCH - 1)
        assert not asked
        settling.wrote(1)
        assert begun.wait(60)
        settling.wrote(MUCH)  # while that runs
        assert asked == [b"/tree"]
        go_on.set()
    assert asked == [b"/tree"]


def test_a_failure_of_the_disk_is_told_at_the_end() -> None:
    def sync(directory: bytes) -> None:
        raise Failed("it did not reach the disk")

    with pytest.raises(Failed, match="did not reach"), Settling(b"/tree", sync) as settling:
        settling.wrote(MUCH)


def test_a_failure_of_the_disk_is_told_though_something_else_ends_the_work() -> None:
    """The kernel tells it once: the same command, given again, would hear nothing of it."""

    def sync(directory: bytes) -> None:
        raise Failed("it did not reach the disk")

    with pytest.raises(Failed, match="did not reach"), Settling(b"/tree", sync) as settling:
        settling.wrote(MUCH)
        raise KeyboardInterrupt


def test_what_ends_the_work_goes_on_where_the_disk_is_well() -> None:
    with pytest.raises(KeyboardInterrupt), Settling(b"/tree", lambda directory: None) as settling:
        settling.wrote(MUCH)
        raise KeyboardInterrupt


def test_without_threads_the_sync_at_the_end_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with Settling(b"/tree", lambda directory: None) as settling:
        settling.wrote(MUCH)


def test_a_directory_that_can_not_be_opened_is_left_to_the_sync_at_the_end() -> None:
    with Settling(b"/nowhere/at/all") as settling:
        settling.wrote(MUCH)
