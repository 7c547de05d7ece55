"""What the receiver of a restore asks of a node. Any thread; each has a connection of its own.

A call that nobody answered is repeated until there is an answer or nobody wants it any more: every call may be.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from engine.env.endpoint import Endpoint, as_error, connect, not_answered
from engine.model.errors import BcsError, Failed, Unreachable
from engine.wire.batch import Batch, decode
from engine.wire.errors import Malformed

ANSWER_SECONDS = 120.0
RETRY_SECONDS = 0.3
_BAD_BATCHES_MAX = 3


class Stopped(Failed):
    """Nobody wants an answer any more."""

    code = "stopped"


class RestoreClient:
    """One restore at one node. `host` is in whose name it is received: empty for the caller's own."""

    def __init__(
        self,
        where: Callable[[], Endpoint],
        id: str,
        host: str,
        stopping: threading.Event,
        waiting: Callable[[str], None] = lambda why: None,
        *,
        patient: bool = True,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`where` is asked before each request: who we are may change while a restore goes on. `waiting` is told why
        nothing goes on while the node does not answer, and an empty text once it does. Not `patient`, it raises
        Unreachable instead of waiting."""
        self._where = where
        self._base = f"/v1/restores/{quote(id)}"
        self._as = f"host={quote(host)}"
        self._stopping, self._waiting = stopping, waiting
        self._patient, self._answer_seconds = patient, answer_seconds
        self._kept = threading.local()

    def plan(self) -> dict[str, Any]:
        """{steps, fingerprint, files, names, bytes, ...}. NothingThere, Refused when there is none to receive."""
        return self._json("GET", f"{self._base}/plan?{self._as}")

    def batch(self, number: int, fingerprint: str, *, data: bool = True) -> Batch:
        """One batch of the plan, whole and of this plan. Malformed when it is not, time and again."""
        return self._batch(f"batches/{number}", f"{self._as}&plan={fingerprint}&data={int(data)}", fingerprint)

    def listing(self, number: int, fingerprint: str) -> Batch:
        """One listing of the plan: files' names and attributes, as `batch` answers."""
        return self._batch(f"listings/{number}", f"{self._as}&plan={fingerprint}", fingerprint)

    def _batch(self, what: str, query: str, fingerprint: str) -> Batch:
        target = f"{self._base}/{what}?{query}"
        for tries_left in reversed(range(_BAD_BATCHES_MAX)):
            try:
                batch = decode(self._bytes("GET", target))
                if (batch.prev.hex(), batch.stream) != (fingerprint, self._base.rsplit("/", 1)[1]):
                    raise Malformed(f"{what} of a restore belongs to another plan")
                return batch
            except Malformed:
                if not tries_left:
                    raise
        raise AssertionError("unreachable")

    def progress(self, body: Mapping[str, Any]) -> str:
        """Tell how far it is, or how it ended; the restore's state as the node has it: `open`, or how it ended."""
        return str(self._json("POST", f"{self._base}/progress?{self._as}", body).get("state"))

    def _json(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        value = json.loads(self._bytes(method, target, body))
        if not isinstance(value, dict):
            raise Failed(f"the node answered {method} {target} with no JSON object")
        return value

    def _bytes(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> bytes:
        """The body of an answer; repeated as long as there is none."""
        content = json.dumps(body).encode() if body is not None else None
        while True:
            if self._stopping.is_set():
                raise Stopped("the restore was stopped")
            try:
                answer = self._once(method, target, content)
                self._waiting("")
                return answer
            except Unreachable as error:
                if not self._patient:
                    raise
                self._waiting(error.message)
                self._stopping.wait(RETRY_SECONDS)

    def _once(self, method: str, target: str, content: bytes | None) -> bytes:
        endpoint = self._where()
        known, connection = getattr(self._kept, "connection", (None, None))
        if connection is None or known is not endpoint:
            if connection is not None:
                connection.close()
            connection = connect(endpoint, self._answer_seconds)
            self._kept.connection = (endpoint, connection)
        try:
            connection.request(method, target, content, {"Content-Type": "application/json"} if content else {})
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            self._forget(connection)
            raise not_answered(endpoint, error) from None
        if answer.will_close:
            self._forget(connection)
        if status < 400:
            return text
        raise _error(status, text, f"{method} {target} was answered with {status}")

    def _forget(self, connection: HTTPConnection) -> None:
        connection.close()
        self._kept.connection = (None, None)


def _error(status: int, text: bytes, otherwise: str) -> BcsError:
    try:
        value = json.loads(text)
    except ValueError:
        value = {}
    error = as_error(value if isinstance(value, dict) else {}, otherwise)
    return Unreachable(error.message) if status in (408, 502, 503, 504) else error
