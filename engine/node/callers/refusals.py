"""Refusals that the event loop meets, on their way into the audit stream. Noting one never blocks.

The audit limits how many of a kind are written in a minute, and counts the rest; here only waiting is bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.env.clock import Clock
from engine.model.errors import BcsError
from engine.node.audit import AuditLog
from engine.node.log import WARNING, log

WAITING_MAX = 1_000


class Refusals:
    """`note` is for the event loop. `not_written` counts those that found no room and are not told of yet."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit, self._clock = audit, clock
        self._writing = ThreadPoolExecutor(1, "refusals")
        self._room = threading.Semaphore(WAITING_MAX)
        self._counting = threading.Lock()
        self.not_written = 0

    def note(self, what: str, who: str, kind: str, details: Mapping[str, Any]) -> None:
        """Have a refusal recorded soon. With too many waiting, as when the store hangs, it is only counted."""
        if not self._room.acquire(blocking=False):
            with self._counting:
                self.not_written += 1
            return
        self._writing.submit(self._write, what, who, kind, dict(details))

    def close(self) -> None:
        """Write what waits; call it before the audit's committer is closed."""
        self._writing.shutdown()

    def _write(self, what: str, who: str, kind: str, details: Mapping[str, Any]) -> None:
        try:
            if self._audit.refusal(what, who, details, kind):
                log(f"{what}: {who}: {details.get('error', kind)}", self._clock, level=WARNING)
            self._tell_of_others()
        except (BcsError, OSError) as error:
            log(f"a refusal was not recorded: {error}", self._clock, level=WARNING)
        finally:
            self._room.release()

    def _tell_of_others(self) -> None:
        """That there were more than could wait is written once the store takes something again."""
        with self._counting:
            others, self.not_written = self.not_written, 0
        if others:
            self._audit.act("refused-more", "node", {"what": "any", "kind": "waited-too-long", "count": others})
