"""A host's certificate: got once with the enrolment that was deployed, renewed while the agent runs.

The private key is made here and stays here. Every step may be cut off anywhere: a new key waits in a file of its own
until its certificate is there, and an enrolment is removed last, so that it is asked for again with the same key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from engine.agent.host.where import AGAIN, Remote
from engine.agent.log import WARNING, log
from engine.env import durable
from engine.env.clock import Clock
from engine.env.endpoint import request_json
from engine.model.errors import BcsError, Failed, Refused
from engine.model.times import SECOND, format_time

LOOK_SECONDS = 1.0
RETRY_SECONDS_MIN, RETRY_SECONDS_MAX = 1.0, 60.0
RETRIES_A_LIFE = 50


@dataclass(frozen=True, slots=True)
class Life:
    """When the certificate was issued and when it ends, site time in microseconds."""

    issued_at: int
    not_after: int

    @property
    def renew_at(self) -> int:
        """Two thirds through, so that a node may be away for days."""
        return self.issued_at + (self.not_after - self.issued_at) * 2 // 3

    @property
    def retry_seconds(self) -> float:
        seconds = (self.not_after - self.issued_at) / SECOND / RETRIES_A_LIFE
        return min(max(seconds, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)


class Identity:
    """Keeps the files of `where` good. `now` is site time. `message` says what is wrong, empty when nothing is."""

    def __init__(self, where: Remote, host: str, now: Callable[[], int], clock: Clock) -> None:
        self._where, self._files, self._host, self._now, self._clock = where, where.files, host, now, clock
        self._given_up = b""  # an enrolment that the node refused
        self._again_at = 0.0
        self.message = ""

    def run(self, stopping: threading.Event) -> None:
        """Look again and again until told to stop."""
        while True:
            self.look()
            if stopping.wait(LOOK_SECONDS):
                return

    def look(self) -> None:
        """Do what is due. What fails is told and tried again later."""
        if self._clock.monotonic() < self._again_at:
            return
        try:
            enrolment = self._enrolment()
            if enrolment and enrolment != self._given_up:
                self._enrol(enrolment)
            elif not all(self._files.state()):
                raise self._where.nothing_to_show()
            elif self._now() >= self._life().renew_at:
                self._renew()
            self._tell("")
        except (BcsError, OSError, ValueError) as error:
            self._again_at = self._clock.monotonic() + self._patience()
            self._tell(_in_words(error))

    def _enrol(self, enrolment: bytes) -> None:
        from engine.identity import requests  # a big library, wanted once in days

        waiting = self._files.folder / "enrolment.key"
        key = waiting.read_bytes() if waiting.exists() else b""
        try:
            request = requests.request(key, self._host)
        except ValueError:
            key = requests.new_key()
            durable.replace(waiting, key)
            request = requests.request(key, self._host)
        body = {"token": enrolment.decode("ascii", "replace"), "host": self._host, "csr": request}
        try:
            answer = request_json(self._where.unknown(), "POST", "/v1/enrol", body)
        except Refused:
            self._given_up = enrolment
            waiting.unlink(missing_ok=True)
            raise
        certificate = _certificate(answer, key)
        durable.replace(self._files.key, key)
        self._take(certificate)
        for path in (self._files.enrolment, waiting, self._files.revoked):
            path.unlink(missing_ok=True)
        durable.sync_directory(self._files.folder)
        log(f"enrolled as host '{self._host}'", self._clock, until=format_time(self._life().not_after))

    def _renew(self) -> None:
        from engine.identity import requests

        key = self._files.key.read_bytes()
        body = {"csr": requests.request(key, self._host)}
        answer = request_json(self._where.endpoint(), "POST", f"/v1/agents/{quote(self._host)}/certificate", body)
        self._take(_certificate(answer, key))
        log("the certificate was renewed", self._clock, until=format_time(self._life().not_after))

    def _take(self, certificate: bytes) -> None:
        from engine.identity import requests

        issued_at, not_after = requests.life(certificate)
        durable.replace(self._files.certificate, certificate)
        durable.replace(self._files.life, json.dumps({"issued_at": issued_at, "not_after": not_after}).encode())

    def _life(self) -> Life:
        """From a note beside the certificate; one that is missing or of another is made good by renewing."""
        try:
            told = json.loads(self._files.life.read_bytes())
            return Life(int(told["issued_at"]), int(told["not_after"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Life(0, 0)

    def _enrolment(self) -> bytes:
        with suppress(FileNotFoundError):
            return self._files.enrolment.read_bytes().strip()
        return b""

    def _patience(self) -> float:
        return self._life().retry_seconds if self._files.certificate.exists() else RETRY_SECONDS_MIN

    def _tell(self, message: str) -> None:
        if message and message != self.message:
            log(message, self._clock, level=WARNING, matter="certificate-refused")
        elif self.message and not message:
            log("certificate-refused is over", self._clock, matter="certificate-refused")
        self.message = message


def _certificate(answer: dict[str, Any], key: bytes) -> bytes:
    """The certificate of a node's answer. Failed when it is none for our key."""
    from engine.identity import requests

    certificate = str(answer.get("certificate") or "").encode("ascii", "replace")
    if not requests.belongs(certificate, key):
        raise Failed("the node answered with no certificate for this host's key")
    return certificate


def _in_words(error: Exception) -> str:
    if isinstance(error, Refused):
        return f"{error.message}: {error.hint or AGAIN}"
    return str(error)
