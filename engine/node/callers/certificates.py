"""The certificates of a site's hosts: enrolment by a token that counts once, renewal, revocation.

What must be known after a restart, and to the site's other nodes, is in sealed control objects: enrolments (of their
tokens the hash alone), which key each was used for, revocations. Certificates themselves are not kept: they say who
they are for, and a revocation names the host and holds for all that it was issued until then.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.env.clock import Clock
from engine.env.randomness import token_hex
from engine.identity.authority import Authority, Issued, issue_to_host, requested_key
from engine.journal import sealed
from engine.journal.documents import numbered_key
from engine.journal.open import Journal
from engine.model.errors import Damaged, Refused, Unauthenticated, UsageError
from engine.model.times import SECOND
from engine.node.callers.often import Often
from engine.node.monitoring.hosts import Certified
from engine.store.base import AlreadyThere, Missing

ENROLMENTS, ENROLLED, REVOCATIONS = "control/enrolments/", "control/enrolled/", "control/revocations/"
ENROLMENT_SECONDS = 3600
ENROLMENT_SECONDS_MAX = 7 * 24 * 3600
SECRET_BYTES = 32
REFRESH_SECONDS = 2.0
KNOWN_MAX = 20_000
ISSUED_A_MINUTE = 10
"""To one host: each is signed, and kept in the audit. An agent asks once in days."""
AGAIN = "run `bcsctl apply` again"


@dataclass(frozen=True, slots=True)
class Known:
    """The newest certificate that this node has issued to a host or seen of it. Times in microseconds."""

    host: str
    serial: str
    issued_at: int
    not_before: int
    not_after: int


class Certificates:
    """Safe to use from any thread. All but `revoked_at` and `seen` may wait for the store."""

    def __init__(self, journal: Journal, authority: Authority, site: str, seconds: int, clock: Clock) -> None:
        """`seconds` is how long a certificate holds."""
        self.authority, self.site, self.seconds = authority, site, seconds
        self._journal, self._clock = journal, clock
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._revoked: dict[str, int] = {}
        self._read: set[int] = set()
        self._often = Often(ISSUED_A_MINUTE, clock)
        with suppress(Damaged):  # told by the first refresh
            self.refresh()

    def refresh(self) -> None:
        """Take in the revocations that other nodes have made since. Raises Damaged, once all others are taken in, for
        one that is not the site's, or is gone."""
        damaged: Damaged | None = None
        numbers = set(sealed.numbers(self._journal, REVOCATIONS))
        if gone := ({*range(1, max(numbers, default=0)), *self._read} - numbers):
            key = numbered_key(REVOCATIONS, min(gone))
            damaged = Damaged(f"object {key} is not there any more: a host may count again that was revoked",
                              hint="bring it back, or revoke the host again", details={"object": key})  # fmt: skip
        for number in numbers - self._read:
            try:
                told = sealed.get(self._journal, REVOCATIONS, number)
            except Damaged as error:
                damaged = error
                continue
            self._take(str(told["host"]), int(told["at"]))
            self._read.add(number)
        if damaged is not None:
            raise damaged

    def enrolment(self, host: str, seconds: int, by: str) -> tuple[str, int]:
        """A token with which the host gets its first certificate, once, and when it ends, microseconds."""
        if not 0 < seconds <= ENROLMENT_SECONDS_MAX:
            raise UsageError(f"an enrolment of {seconds} s", hint=f"from 1 to {ENROLMENT_SECONDS_MAX}")
        secret, now = token_hex(SECRET_BYTES), self._clock.now()
        fields = {
            "host": host,
            "hash": _hash(secret),
            "created_at": max(now, self.revoked_at(host) + 1),  # it may be another node's clock that is ahead
            "expires_at": now + seconds * SECOND,
            "by": by,
        }
        number = sealed.take_next(self._journal, ENROLMENTS, fields)
        return f"bcse_{number}_{secret}", now + seconds * SECOND

    def enrol(self, token: str, host: str, request_pem: str) -> Issued:
        """The first certificate of a host. Asked again with the same token and key, another one: the answer may have
        been lost. Raises Unauthenticated for a token that does not count, or no more; Refused for a bad request."""
        key = requested_key(request_pem).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        number, fields = self._enrolment(token)
        if fields["host"] != host:
            raise Unauthenticated(f"this enrolment is not for host '{host[:80]}'", hint=AGAIN)
        if self._clock.now() >= fields["expires_at"]:
            raise Unauthenticated(f"the enrolment of host '{host[:80]}' has ended", hint=AGAIN)
        self._refuse_revoked(host, fields["created_at"])
        used = {"host": host, "key": hashlib.sha256(key).hexdigest()}
        prefix = f"{ENROLLED}{number:08d}/"
        try:
            sealed.put_number(self._journal, prefix, 1, {**used, "at": self._clock.now()})
        except AlreadyThere:
            before = sealed.get(self._journal, prefix, 1)
            if {name: before.get(name) for name in used} != used:
                raise Unauthenticated(f"the enrolment of host '{host[:80]}' was used already", hint=AGAIN) from None
        return self._issue(host, request_pem, fields["created_at"])

    def renew(self, host: str, request_pem: str, by: int) -> Issued:
        """The next certificate of a host, asked for with one that was issued at `by`. Raises Unauthenticated when that
        was revoked since the request began: its sender may have waited with the rest of it, or come to another node."""
        requested_key(request_pem)
        return self._issue(host, request_pem, by)

    def revoke(self, host: str, by: str) -> int:
        """Refuse from now on whatever this host was issued until now, enrolments included; when that was."""
        with self._lock:
            newest = self._known.get(host)
            at = max(self._clock.now(), newest.issued_at if newest else 0)
            # Before it is written, so that nothing is issued meanwhile. Where it can't be, the host stays out here.
            self._note(host, at)
        self._read.add(sealed.take_next(self._journal, REVOCATIONS, {"host": host, "at": at, "by": by}))
        return at

    def revoked_at(self, host: str) -> int:
        """Until when what this host was issued counts no more; 0 if never revoked."""
        return self._revoked.get(host, 0)

    def seen(self, known: Known) -> None:
        """A host has come with this certificate, or was issued it."""
        with self._lock:
            before = self._known.pop(known.host, None)
            self._known[known.host] = known if before is None or known.issued_at >= before.issued_at else before
            while len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]

    def known(self) -> list[Known]:
        """The newest certificate of each host that this node knows of, by host."""
        with self._lock:
            return sorted(self._known.values(), key=lambda each: each.host)

    def certified(self) -> dict[str, Certified]:
        """What the site's status shows of each host's certificate."""
        revoked = self.revoked()
        return {
            each.host: Certified(
                each.serial, each.not_after, revoked[each.host] if each.issued_at <= revoked.get(each.host, 0) else None
            )
            for each in self.known()
        }

    def revoked(self) -> dict[str, int]:
        """Hosts with something revoked, and until when."""
        with self._lock:
            return dict(self._revoked)

    def _issue(self, host: str, request_pem: str, by: int) -> Issued:
        """A certificate on the strength of what the host was given at `by`.

        A revocation counts what was issued before it. So none may come between the look whether there is one and the
        time that the certificate bears: the time is noted under the lock, before the certificate is made; and what
        other nodes have revoked is read after it.
        """
        self._often.once_more(f"host {host}")
        with self._lock:
            now = max(self._clock.now(), self.revoked_at(host) + 1)
        with suppress(Damaged):  # told by the node's own rounds; all others count
            self.refresh()
        with self._lock:
            self._refuse_revoked(host, by)
            before = self._known.get(host)
            if before is None or before.issued_at < now:
                self._known[host] = Known(host, "", now, now, now + self.seconds * SECOND)
        issued = issue_to_host(self.authority, self.site, host, request_pem, self.seconds, now)
        self.seen(Known(host, issued.serial, issued.issued_at, issued.not_before, issued.not_after))
        return issued

    def _refuse_revoked(self, host: str, given_at: int) -> None:
        if (revoked := self.revoked_at(host)) and given_at <= revoked:
            raise Unauthenticated(f"host '{host[:80]}' was revoked after this was given to it", hint=readmit(host))

    def _enrolment(self, token: str) -> tuple[int, dict[str, Any]]:
        prefix, _, rest = token.partition("_")
        digits, _, secret = rest.partition("_")
        if prefix == "bcse" and digits.isascii() and digits.isdigit() and len(digits) <= 8:
            try:
                fields = sealed.get(self._journal, ENROLMENTS, int(digits))
            except Missing:
                fields = {}
            if hmac.compare_digest(str(fields.get("hash")), _hash(secret)):
                return int(digits), fields
        raise Unauthenticated("nobody was given this enrolment", hint=AGAIN)

    def _take(self, host: str, at: int) -> None:
        with self._lock:
            self._note(host, at)

    def _note(self, host: str, at: int) -> None:
        self._revoked = {**self._revoked, host: max(at, self._revoked.get(host, 0))}


def readmit(host: str) -> str:
    """What lets a host in again that was revoked; no other apply does."""
    return f"`bcsctl apply --readmit {host[:80]}` lets it in again"


def none_here() -> Refused:
    return Refused(
        "this node has no authority: it answers on its Unix socket only",
        hint="a node with 'listen' in its node.json has one",
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
