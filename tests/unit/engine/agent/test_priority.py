"""When capturing gives way, when it hurries, and when it lets changes gather."""

from __future__ import annotations

import ctypes
import os
import threading

import pytest
from conftest import Site

from engine.agent.capture.walk import Walk
from engine.agent.priority import Priority
from engine.env import niceness


class Rig:
    def __init__(self, objective: float | None = 4.0) -> None:
        self.now, self.waited, self.hurries = 100.0, 3.0, True
        self.priority = Priority(lambda: objective, lambda: self.now, lambda: self.waited, self.hurry)

    def hurry(self, hurries: bool) -> None:
        self.hurries = hurries

    def keep(self, lag: float, passed: float = 0.01, waited: float = 0.0, much: bool = False) -> bool:
        self.now += passed
        self.waited += waited
        self.priority.keep(lag, much)
        return self.hurries


def test_it_gives_way_until_the_lag_nears_the_objective_and_again_once_it_is_small() -> None:
    rig = Rig()
    assert not rig.keep(0.0)
    assert not rig.keep(1.9)
    assert rig.keep(2.1)
    assert rig.keep(0.9), "hurrying ends only when little is left"
    assert not rig.keep(0.3)


def test_a_long_objective_is_not_used_up() -> None:
    rig = Rig(3600.0)
    assert not rig.keep(9.0)
    assert rig.keep(11.0)


def test_whoever_waits_for_it_is_not_kept_waiting_and_then_the_lag_decides_again() -> None:
    rig = Rig()
    assert not rig.keep(0.0)
    rig.priority.at_once()
    assert rig.hurries
    assert not rig.keep(1.0)


def test_much_new_data_is_not_put_off_for_long() -> None:
    rig = Rig()
    assert not rig.keep(0.3, much=True)
    assert rig.keep(0.5, much=True)
    assert rig.keep(0.2, much=True)
    assert not rig.keep(0.1, much=True)


def test_where_processors_are_contended_changes_gather_longer() -> None:
    rig = Rig()
    rig.keep(0.0, 1.0, waited=0.1)
    assert rig.priority.gather_seconds == 0.0
    rig.keep(0.0, 1.0, waited=0.5)
    assert rig.priority.gather_seconds == pytest.approx(0.16)
    assert rig.keep(2.1, 1.0, waited=0.5)
    assert rig.priority.gather_seconds == pytest.approx(0.16), "fewer batches bring the lag down sooner"


def test_who_gave_way_and_came_back_meanwhile_gives_way_again() -> None:
    rig = Rig()
    rig.keep(0.0)
    rig.hurries = True
    assert not rig.keep(0.0, 1.0)


def test_without_an_objective_there_is_one() -> None:
    rig = Rig(None)
    assert not rig.keep(2.4)
    assert rig.keep(2.6)


def test_the_nice_value_is_this_threads_alone() -> None:
    if not niceness.may_come_back():
        pytest.skip("this process may not take its nice value back")
    seen: list[int] = []
    usual = os.getpriority(os.PRIO_PROCESS, 0)

    def run() -> None:
        niceness.set_nice(niceness.NICE_AT_REST)
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [niceness.NICE_AT_REST]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual


def test_who_looks_at_everything_gives_way_at_its_disk_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a baseline, and after a start."""
    if not niceness.may_come_back() or niceness._IOPRIO_SET is None:
        pytest.skip("this process may not take its nice value back, or this machine's system calls are not known")
    everything, libc, seen = Walk.everything, ctypes.CDLL(None), list[tuple[int, int]]()

    def noted(walk: Walk) -> None:
        thread = threading.get_native_id()
        io_class = libc.syscall(niceness._IOPRIO_SET + 1, niceness._WHO_THREAD, thread) >> niceness._CLASS_SHIFT
        seen.append((os.getpriority(os.PRIO_PROCESS, thread), io_class))
        everything(walk)

    monkeypatch.setattr(Walk, "everything", noted)
    for _ in range(2):
        site.start()
        site.settle()
        site.source.stop()
    assert len(seen) >= 2 and set(seen) == {(niceness.NICE_AT_REST, niceness._CLASS_IDLE)}


def test_waiting_for_a_processor_is_counted() -> None:
    assert niceness.waited_seconds() >= 0.0
