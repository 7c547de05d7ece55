"""Where an agent finds its node: a socket of this machine, or a site's nodes over TLS with this host's certificate.

The certificate is read from its files, below `identity/` of the agent's home, whenever they change: the agent renews
it while it runs, and processes of its own use it too.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from engine.env.endpoint import Endpoint, TlsEndpoint, UnixEndpoint, host_and_port
from engine.identity import contexts
from engine.model.errors import Refused, Unauthenticated

AGAIN = "run `bcsctl apply` again"


class Where(Protocol):
    """Asked before each request; another answer than before makes a client connect anew. For any number of threads."""

    def endpoint(self) -> Endpoint:
        """Raises Unauthenticated, saying what to do, where this host has nothing to show to its node."""
        ...

    def reached(self, host: str, port: int) -> None:
        """A connection to this node has just been made."""
        ...

    def refused(self, endpoint: Endpoint, error: Refused) -> None:
        """What a node has said no with, asked as `endpoint` says."""
        ...

    def arguments(self) -> list[str]:
        """What tells another process of this agent the same."""
        ...


class Local:
    """The node's socket on this machine."""

    def __init__(self, path: Path) -> None:
        self._endpoint = UnixEndpoint(path)

    def endpoint(self) -> Endpoint:
        return self._endpoint

    def reached(self, host: str, port: int) -> None:
        pass

    def refused(self, endpoint: Endpoint, error: Refused) -> None:
        pass

    def arguments(self) -> list[str]:
        return ["--socket", str(self._endpoint.path)]


class Remote:
    """A site's nodes. The one that was reached last is asked first."""

    def __init__(self, home: Path, host: str, urls: Sequence[str]) -> None:
        """UsageError for what is no URL of a node."""
        self.files = Files(home / "identity")
        self.host = host
        self._urls = tuple(urls)
        for url in self._urls:
            host_and_port(url)
        self._lock = threading.Lock()
        self._made: TlsEndpoint | None = None
        self._made_of: tuple[int, ...] = ()

    def endpoint(self) -> Endpoint:
        with self._lock:
            of = self.files.state()
            if self._made is None or of != self._made_of:
                if not all(of):
                    raise self.nothing_to_show()
                context = contexts.client(self.files.ca_pem(), self.files.certificate, self.files.key)
                self._made, self._made_of = TlsEndpoint(self._urls, context), of
            return self._made

    def refused(self, endpoint: Endpoint, error: Refused) -> None:
        """A certificate that was revoked is put away: the next apply sees a host without one, and enrols it."""
        if error.details.get("kind") != "revoked" or not isinstance(endpoint, TlsEndpoint):
            return
        with self._lock:
            current = self._made is not None and self._made.context is endpoint.context
            if current and self._made_of == self.files.state():
                self.files.certificate.replace(self.files.revoked)

    def arguments(self) -> list[str]:
        return [argument for url in self._urls for argument in ("--node", url)]

    def nothing_to_show(self) -> Unauthenticated:
        """Why there is no certificate, and what to do."""
        if self.files.revoked.exists():
            told = f"`bcsctl apply --readmit {self.host}` lets it in again"
            return Unauthenticated(f"host '{self.host}' was revoked", hint=told)
        return Unauthenticated(f"host '{self.host}' has no certificate", hint=AGAIN)

    def unknown(self) -> TlsEndpoint:
        """The same nodes, to ask without a certificate. Raises Unauthenticated without the site's authority."""
        return TlsEndpoint(self._urls, contexts.client(self.files.ca_pem()))

    def reached(self, host: str, port: int) -> None:
        with self._lock:
            first = [url for url in self._urls if host_and_port(url) == (host, port)]
            if first and self._urls[0] != first[0]:
                # The same certificate: what is connected stays so, only those who connect anew ask this node first.
                self._urls = (first[0], *(url for url in self._urls if url != first[0]))
                if self._made is not None:
                    self._made = replace(self._made, urls=self._urls)


class Files:
    """A host's identity on its disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.enrolment = folder / "site-ca.pem", folder / "enrolment"
        self.key, self.certificate, self.life = folder / "host.key", folder / "host.pem", folder / "life.json"
        self.revoked = folder / "revoked.pem"

    def state(self) -> tuple[int, ...]:
        """Changes when the authority, the key or the certificate does; 0 for one that is not there."""
        return tuple(_changed_at(path) for path in (self.ca, self.key, self.certificate))

    def ca_pem(self) -> str:
        try:
            return self.ca.read_text("ascii", "replace")
        except FileNotFoundError:
            raise Unauthenticated(f"the site's authority is not in {self.ca}", hint=AGAIN) from None


def find(home: Path, host: str, socket: Path | None, urls: Sequence[str]) -> Where:
    """The site's nodes where URLs are given, else the socket, by default the one below `home`."""
    return Remote(home, host, urls) if urls else Local(socket or home / "run" / "node.sock")


def _changed_at(path: Path) -> int:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_mtime_ns ^ found.st_ino
