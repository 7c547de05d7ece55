"""The audit stream: who did what, when, from where. One stream a node, of `record` events.

An act is durable before it is answered. Repeated refusals are counted, not written one by one,
so that a stranger can't fill the journal with them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from engine.env.clock import Clock
from engine.journal.commit import Ack, Committer
from engine.model.ids import Address
from engine.model.times import MINUTE
from engine.wire.batch import BatchBuilder, decode

AUDIT_GROUP = "_audit"
REFUSALS_A_MINUTE = 30


def audit_address(node: str) -> Address:
    """Where a node's audit stream is found: `_audit/NODE/acts`."""
    return Address(AUDIT_GROUP, node, "acts")


class AuditLog:
    """Appends records to this node's audit stream. Safe to call from any thread."""

    def __init__(self, committer: Committer, node: str, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0
        self._refusals: dict[str, int] = {}
        stream = committer.register(audit_address(node))
        self._stream = stream.id
        head = committer.heads().get(stream.id)
        record = (head.epoch, head.lsn, head.hash) if head else None
        # The node is the stream's only writer, so what is committed is what it last wrote.
        self._head = committer.open_stream(stream.id, f"node {node}", record).head

    def act(self, what: str, who: str, details: Mapping[str, Any]) -> Ack:
        """Record one act; returns once it is durable."""
        now = self._clock.now()
        payload = json.dumps({"what": what, "who": who, "details": dict(details)}, ensure_ascii=False, sort_keys=True)
        with self._lock:
            builder = BatchBuilder(self._stream, self._head.epoch, self._head.lsn + 1, self._head.hash)
            builder.record(now, what, payload)
            buffers, _ = builder.encode()
            batch = decode(b"".join(buffers))
            try:
                ack = self._committer.submit(batch).result()
            finally:
                self._head = self._committer.heads().get(self._stream, self._head)
            return ack

    def refusal(self, what: str, who: str, details: Mapping[str, Any]) -> None:
        """Record a refusal; beyond REFUSALS_A_MINUTE of a kind only their number is kept."""
        minute = self._clock.now() // MINUTE
        with self._lock:
            if minute != self._minute:
                over = {kind: count - REFUSALS_A_MINUTE for kind, count in self._refusals.items()}
                self._minute, self._refusals = minute, {}
            else:
                over = {}
            count = self._refusals[what] = self._refusals.get(what, 0) + 1
        for kind, extra in over.items():
            if extra > 0:
                self.act("refused-more", "node", {"what": kind, "count": extra})
        if count <= REFUSALS_A_MINUTE:
            self.act(what, who, details)
