"""Upkeep that a node does by itself: merge young segments, make checkpoints, remove what merging replaced.

Each job is idempotent and may be stopped anywhere; a failing job is reported and tried again,
and never stops ingest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.env.clock import Clock


@dataclass(frozen=True, slots=True)
class Job:
    """`run` is called every `every_seconds`, and answers whether it found something to do."""

    name: str
    every_seconds: float
    run: Callable[[], object]


@dataclass(slots=True)
class Upkeep:
    """Runs jobs one at a time on a thread of its own, until asked to stop.

    `on_failure` hears of a job's failure once, and again when it becomes another.
    """

    jobs: Sequence[Job]
    clock: Clock
    on_failure: Callable[[str, Exception], None]
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failing: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the running job be the last one."""
        self._stop.set()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the running job after `ask_to_stop`; whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        due = {job.name: self.clock.monotonic() + job.every_seconds for job in self.jobs}
        while not self._stop.wait(0.2):
            for job in self.jobs:
                if self._stop.is_set() or self.clock.monotonic() < due[job.name]:
                    continue
                self.run(job)
                due[job.name] = self.clock.monotonic() + job.every_seconds

    def run(self, job: Job) -> None:
        """Run one job now. Its failure is a fact to report, not the end of upkeep."""
        try:
            job.run()
        except Exception as error:
            told = f"{type(error).__name__} {error}"
            if self._failing.get(job.name) != told:
                self._failing[job.name] = told
                self.on_failure(job.name, error)
        else:
            self._failing.pop(job.name, None)
