"""The audit stream: who did what, when, from where. One stream a node, of `record` events.

An act is durable before it is answered. Repeated refusals are counted, not written one by one,
so that a stranger can't fill the journal with them.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from engine.env.clock import Clock
from engine.journal.commit import Ack, Committer, Conflict, OutOfOrder
from engine.model.ids import Address
from engine.model.times import MINUTE
from engine.wire.batch import Batch, BatchBuilder, decode

AUDIT_GROUP = "_audit"
REFUSALS_A_MINUTE = 30
TEXT_CHARS_MAX = 500
"""Texts in a refusal's details are cut here: they come from whoever was refused."""

_TRIES = 3


def audit_address(node: str) -> Address:
    """Where a node's audit stream is found: `_audit/NODE/acts`."""
    return Address(AUDIT_GROUP, node, "acts")


class AuditLog:
    """Appends records to this node's audit stream. Safe to call from any thread.

    `refused` counts all refusals since the node started by (what, kind). `on_act` hears of each act once it is durable,
    with its time; it must neither raise nor wait.
    """

    def __init__(self, committer: Committer, node: str, clock: Clock) -> None:
        self._committer = committer
        self._clock = clock
        self._writing = threading.Lock()
        self._counting = threading.Lock()
        self._minute = 0
        self._refusals: dict[tuple[str, str], int] = {}
        self._over: dict[tuple[str, str], int] = {}
        self.refused: Counter[tuple[str, str]] = Counter()
        self.on_act: Callable[[str, str, Mapping[str, Any], int], None] = lambda what, who, details, at: None
        self.stream = committer.register(audit_address(node)).id
        head = committer.heads().get(self.stream)
        record = (head.epoch, head.lsn, head.hash) if head else None
        # The node is the stream's only writer, so what is committed is what it last wrote.
        self._head = committer.open_stream(self.stream, f"node {node}", record).head

    def act(self, what: str, who: str, details: Mapping[str, Any], at: int | None = None) -> Ack:
        """Record one act; returns once it is durable. Raises NotCommitted when the store fails.

        `at` is when it was done, microseconds, if that was not now.
        """
        payload = json.dumps(_readable({"what": what, "who": who, "details": dict(details)}), sort_keys=True)
        topic = what.encode("utf-8", "replace").decode()
        with self._writing:
            for tries_left in reversed(range(_TRIES)):
                try:
                    ack = self._committer.submit(self._batch(topic, payload, at)).result()
                except (OutOfOrder, Conflict) as error:
                    # An act that failed before us was committed after all, once the store was back.
                    if error.expected is None or not tries_left:
                        raise
                    self._head = error.expected
                else:
                    self._head = self._committer.heads()[self.stream]
                    self.on_act(what, who, details, ack.committed_at if at is None else at)
                    return ack
        raise AssertionError("unreachable")

    def refusal(self, what: str, who: str, details: Mapping[str, Any], kind: str = "") -> bool:
        """Record a refusal, or only count it when REFUSALS_A_MINUTE of its kind have been; whether it was recorded.

        `kind` says which sort of `what` it is, and goes into the details.
        """
        self.flush()
        key = (what, kind)
        with self._counting:
            self.refused[key] += 1
            count = self._refusals[key] = self._refusals.get(key, 0) + 1
        if count > REFUSALS_A_MINUTE:
            return False
        self.act(what, who[:TEXT_CHARS_MAX], {"kind": kind, **{name: _cut(value) for name, value in details.items()}})
        return True

    def flush(self, *, at_once: bool = False) -> None:
        """Record how many refusals of earlier minutes were only counted; `at_once` those of this minute too.

        What can't be recorded now stays counted, and the store's error is raised.
        """
        minute = self._clock.now() // MINUTE
        with self._counting:
            if minute != self._minute or at_once:
                for key, count in self._refusals.items():
                    if count > REFUSALS_A_MINUTE:
                        self._over[key] = self._over.get(key, 0) + count - REFUSALS_A_MINUTE
                self._minute, self._refusals = minute, {}
            over, self._over = self._over, {}
        while over:
            key = next(iter(over))
            try:
                self.act("refused-more", "node", {"what": key[0], "kind": key[1], "count": over[key]})
            except BaseException:
                with self._counting:
                    for other, count in over.items():
                        self._over[other] = self._over.get(other, 0) + count
                raise
            del over[key]

    def _batch(self, topic: str, payload: str, at: int | None) -> Batch:
        builder = BatchBuilder(self.stream, self._head.epoch, self._head.lsn + 1, self._head.hash)
        builder.record(self._clock.now() if at is None else at, topic, payload)
        buffers, _ = builder.encode()
        return decode(b"".join(buffers))


def _readable(value: Any) -> Any:
    """The same without what is no Unicode, which readers of JSON refuse: bytes of names that are no UTF-8 become
    escapes, `\\xff`. What told them as `path` has them in `path_base64` too."""
    if isinstance(value, str):
        with suppress(UnicodeEncodeError):
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_readable(key): _readable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_readable(each) for each in value]
    return value


def _cut(value: Any) -> Any:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value
