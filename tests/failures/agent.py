"""The agent as a process, with limits so small that a test reaches them: `python -m tests.failures.agent agent ...`.

BCS_TEST_LIMITS is a JSON object: `batch_events`, `segment_bytes`, `bounded_queue` (fanotify keeps the kernel's limit),
`bug_in` (a file: as long as it is there, each look fails), `wall_offset` (a file whose text is added to the wall clock,
in seconds: what a step of the host's clock looks like).
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from engine.agent import __main__ as started
from engine.agent.capture import outbox
from engine.agent.capture.look import Capture
from engine.agent.kept import spool
from engine.agent.watch import choose
from engine.agent.watch.marks import FilesystemWatcher
from engine.env.clock import Clock


class Bounded(FilesystemWatcher):
    """Its queue overflows, as one without the right to an unlimited one."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options, bounded=True)  # type: ignore[arg-type]


def set_limits(limits: dict[str, object]) -> None:
    if "batch_events" in limits:
        outbox.BATCH_EVENTS = int(str(limits["batch_events"]))
    if "segment_bytes" in limits:
        spool.SEGMENT_BYTES = int(str(limits["segment_bytes"]))
    if limits.get("bounded_queue"):
        choose.FilesystemWatcher = Bounded  # type: ignore[misc]
    if "bug_in" in limits:
        path, look = Path(str(limits["bug_in"])), Capture.look

        def failing(capture: Capture, *arguments: Any) -> None:
            if path.exists():
                1 / 0  # noqa: B018
            look(capture, *arguments)

        Capture.look = failing  # type: ignore[method-assign]
    if "wall_offset" in limits:
        path, wall = Path(str(limits["wall_offset"])), Clock.now
        Clock.now = lambda clock: wall(clock) + int(float(path.read_text()) * 1e6)  # type: ignore[method-assign]


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # a test that waited in vain asks what the threads do
    set_limits(json.loads(os.environ.get("BCS_TEST_LIMITS", "{}")))
    sys.exit(started.main())
