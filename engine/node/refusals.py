"""Refusals that the event loop meets, on their way into the audit stream. Noting one never blocks.

The audit limits how many of a kind are written in a minute, and counts the rest; here only waiting is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.env.clock import Clock
from engine.model.errors import BcsError
from engine.node.audit import AuditLog
from engine.node.log import WARNING, log

WAITING_MAX = 1_000


class Refusals:
    """Lives on the event loop. `counted` is every refusal noted, by (what, kind), for whoever makes metrics of it."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit, self._clock = audit, clock
        self._writing = ThreadPoolExecutor(1, "refusals")
        self._waiting = 0
        self.counted: Counter[tuple[str, str]] = Counter()
        self.not_written = 0

    def note(self, what: str, who: str, kind: str, details: Mapping[str, Any]) -> None:
        """Have a refusal recorded soon. With too many waiting, as when the store hangs, it is only counted."""
        self.counted[what, kind] += 1
        if self._waiting >= WAITING_MAX:
            self.not_written += 1
            return
        self._waiting += 1
        self._writing.submit(self._write, what, who, kind, dict(details))

    def close(self) -> None:
        """Write what waits; call it before the audit's committer is closed."""
        self._writing.shutdown()

    def _write(self, what: str, who: str, kind: str, details: Mapping[str, Any]) -> None:
        try:
            if self._audit.refusal(what, who, details, kind):
                log(f"{what}: {who}: {details.get('error', kind)}", self._clock, level=WARNING)
        except (BcsError, OSError) as error:
            log(f"a refusal was not recorded: {error}", self._clock, level=WARNING)
        finally:
            self._waiting -= 1
