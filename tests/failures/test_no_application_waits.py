"""Whatever becomes of us, the application's writes take what they take without us.

Ratios within one run, generous ones: a write that had to wait for an agent or a node would take a thousand times as
long.
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.failures.host import Host, a_host
from tests.failures.test_no_room import Deafness, failing

SECONDS = float(os.environ.get("BCS_FAILURES_SECONDS", "3"))
STOPPED_SECONDS = 5.0
PAUSE_SECONDS = 0.001
MEDIAN_RATIO_MAX, P99_RATIO_MAX = 10.0, 20.0
MEDIAN_MAX, P99_MAX, LONGEST_MAX = 0.005, 0.2, 2.0
"""Seconds below which a ratio says nothing on a machine that others use too; and one that no write may take."""


@dataclass(frozen=True)
class Latencies:
    """Seconds of each write."""

    protected: list[float]
    beside: list[float]

    def check(self) -> None:
        ours, theirs = sorted(self.protected), sorted(self.beside)
        assert len(ours) > 100 and len(theirs) > 100
        assert statistics.median(ours) < max(MEDIAN_MAX, MEDIAN_RATIO_MAX * statistics.median(theirs))
        assert ours[len(ours) * 99 // 100] < max(P99_MAX, P99_RATIO_MAX * theirs[len(theirs) * 99 // 100])
        assert ours[-1] < max(LONGEST_MAX, 5 * theirs[-1])


def measured(host: Host, while_this: Callable[[], object]) -> Latencies:
    """Writes to the protected tree and to a directory beside it, in turn, as long as a function runs."""
    beside = host.base / "unprotected"
    beside.mkdir(exist_ok=True)
    found: dict[Path, list[float]] = {host.tree: [], beside: []}
    done = threading.Event()

    def run() -> None:
        number = 0
        while not done.wait(PAUSE_SECONDS):
            number += 1
            for directory, seconds in found.items():
                began = time.monotonic()
                path = directory / f"{number % 50}"
                path.write_bytes(b"%d" % number * 100)
                if number % 10 == 0:
                    path.rename(directory / f"renamed{number % 50}")
                seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while_this()
    finally:
        done.set()
        thread.join()
    return Latencies(found[host.tree], found[beside])


def test_while_the_node_is_away(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        host.start()
        host.settle()
        host.node.away = True
        measured(host, lambda: time.sleep(SECONDS)).check()
        host.node.away = False
        host.settle()
        assert not host.gaps()


def test_while_the_spool_is_full(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        line = Deafness(host, deaf=False)
        host.start(arguments=("--spool-limit", "50KiB"))
        host.settle()
        line.deaf = True

        def full() -> None:
            failing(host, "the spool holds")
            time.sleep(SECONDS)

        measured(host, full).check()
        line.deaf = False
        host.settle()
        assert host.gaps()


@pytest.mark.skipif(os.geteuid() != 0, reason="without root there is no fanotify")
def test_while_the_agent_stands_still(tmp_path: Path) -> None:
    """A group that only hears of changes is never waited for, and its queue has no limit."""
    with a_host(tmp_path) as host:
        host.start()
        host.settle()
        assert host.protected()["mechanism"] == "fanotify"

        def stopped() -> None:
            host.stand_still()
            time.sleep(STOPPED_SECONDS)
            host.living.send_signal(signal.SIGCONT)

        measured(host, stopped).check()
        host.settle()
        assert not host.gaps(), "the queue had no limit"


def test_while_it_is_killed_and_catches_up(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        for number in range(2000):
            (host.tree / f"old{number}").write_bytes(b"%d" % number)
        host.start()
        host.settle()

        def killed_twice() -> None:
            for _ in range(2):
                host.kill()
                host.start()
                time.sleep(SECONDS / 4)

        measured(host, killed_twice).check()
        host.settle()
        host.check()
