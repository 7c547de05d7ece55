"""A protected host: a home, a tree, agents that are real processes, and a node in memory behind a real socket.

The node keeps every event as it came, so that each point can be had back by the naive fold at any time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "engine" / "agent"))

from disk import differences, disk_image
from fake_node import FakeNode
from node_server import served

from engine.model.events import Mark
from tests.plug import stands_still, stop

ROOT = Path(__file__).parents[2]
CRASHED = 137
SMALL = {"batch_events": 40, "segment_bytes": 1_000}
CLOCKS_APART = 1_000_000
"""Microseconds: a host's site time may be off by half of what an answer of its node takes."""


class Host:
    """Use `a_host`. `limits` are those of tests.failures.agent."""

    def __init__(self, base: Path, node: FakeNode, tree: Path | None = None, home: Path | None = None) -> None:
        self.base, self.node = base, node
        self.tree = tree or base / "tree"
        self.home = home or base / "home"
        self.socket = base / "s"
        self.tree.mkdir(exist_ok=True)
        self.home.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.points: dict[int, dict[bytes, tuple[Any, ...]]] = {}
        self.protect([self.tree])

    def protect(self, paths: list[Path], **more: Any) -> None:
        """`more` is what else the desired document says of the source."""
        source = {"stream": "5eed", "address": "g/h/s", "kind": "files", "paths": [str(path) for path in paths]}
        self.node.change(sources=[{**source, "exclude": [], **more}])

    def start(
        self, crash_at: str = "", *, limits: dict[str, Any] | None = None, arguments: tuple[str, ...] = ()
    ) -> None:
        """Start an agent; `crash_at` as in engine.env.crash."""
        command = [sys.executable, "-m", "tests.failures.agent", "agent", "--home", str(self.home)]
        environment = {**os.environ, "BCS_CRASH_AT": crash_at, "BCS_TEST_LIMITS": json.dumps(limits or {})}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with (self.base / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--socket", str(self.socket), *arguments], env=environment, stdout=log, stderr=log
            )

    @property
    def living(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def stand_still(self) -> None:
        """SIGSTOP; returns when no thread of the agent reads any more. SIGCONT ends it."""
        stop({self.living.pid})
        self.wait(lambda: stands_still(self.living.pid), "the agent to stand still")

    def kill(self) -> None:
        """kill -9."""
        self.living.kill()
        self.living.wait()

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        if self.living.poll() is None:
            self.living.send_signal(signal.SIGCONT)
            self.living.terminate()
        return self.living.wait(120)

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
        """The condition's first true value."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if value := condition():
                return value
            time.sleep(0.01)
        if self.living.poll() is None:
            self.living.send_signal(signal.SIGUSR1)
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s: {what}\n{self.reported()}\n{self.log()}")

    def log(self) -> str:
        path = self.base / "agent.log"
        return path.read_text(errors="replace")[-8000:] if path.exists() else ""

    def reported(self) -> dict[str, Any]:
        """The source's row in the agent's latest report; {} if there is none."""
        statuses = self.node.statuses
        return dict(([{}, *(statuses[-1]["sources"] if statuses else [])])[-1])

    def image(self, lsn: int | None = None, below: Path | None = None) -> dict[bytes, tuple[Any, ...]]:
        """The tree at a point, by default the newest."""
        if lsn is None:
            lsn = ([0, *(point.lsn for point in self.node.points())])[-1]
        return self.node.image(os.fsencode(below or self.tree), lsn)

    def differing(self, below: Path | None = None) -> list[str]:
        """How the newest point differs from the disk."""
        return differences(self.image(below=below), disk_image(os.fsencode(below or self.tree)))

    def settle(self, seconds: float = 120.0) -> Mark:
        """Wait until the newest point equals the disk, and remember it. Nothing may change meanwhile."""
        self.wait(lambda: self.node.points() and not self.differing(), "the newest point to equal the disk", seconds)
        point = self.node.points()[-1]
        self.points[point.lsn] = self.image(point.lsn)
        return point

    def protected(self, seconds: float = 120.0) -> dict[str, Any]:
        """Wait for a report made from now on that says: protected, nothing pending, no gap open. Answers it."""
        said = len(self.node.statuses)

        def well() -> bool:
            row = self.reported()
            return (
                len(self.node.statuses) > said
                and row.get("state") == "protected"
                and not row["pending"]
                and row["gap_from"] is None
            )

        self.wait(well, "a report that all is well", seconds)
        return self.reported()

    def wait_for_clocks(self, since: int) -> None:
        """Until whoever took now for then would be found out, however far the clocks are apart."""
        self.wait(lambda: site_now() > since + 2 * CLOCKS_APART, "time to pass")

    def gaps(self) -> list[Mark]:
        return self.node.marks_of("gap")

    def check(self) -> None:
        """What holds whatever happened: every point that was remembered is the same, events follow each other without
        a hole, and no time goes back."""
        for lsn, image in self.points.items():
            assert not differences(self.image(lsn), image), f"the point at {lsn} has changed"
        events = list(self.node.events)
        assert [event.lsn for event in events] == list(range(1, len(events) + 1))
        times = [event.at for event in events]
        assert times == sorted(times)


@contextmanager
def a_host(base: Path, **places: Path | None) -> Iterator[Host]:
    """A host below `base`, whose agent ends with the block."""
    base.mkdir(exist_ok=True)
    host = Host(base, FakeNode(), **places)
    with served(host.node, host.socket):
        try:
            yield host
        finally:
            if host.process is not None:
                host.process.send_signal(signal.SIGCONT)
                host.process.kill()
                host.process.wait()


def site_now() -> int:
    """Site time as the node in memory has it: this machine's wall clock, microseconds."""
    return time.time_ns() // 1000
