"""Sites with a TLS listener for tests, over real TLS on loopback: a node process, and clients who are whoever they say.

`Certified` makes what a host would have: a key of its own, and the certificate that the node gave it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.env.endpoint import TlsEndpoint, connect, request_json
from engine.identity import contexts, requests
from engine.identity.authority import Authority
from engine.journal.authority import read_authority
from tests.embedded import Site
from tests.nodes import Answer, Body, ProcessNode, acts, as_bytes, journal_of, wait_for
from tests.ports import free_port

SITE = "test"
HOST, OTHER = "web1", "web2"


@dataclass
class Certified:
    """A host's files, as an agent keeps them."""

    host: str
    ca_pem: str
    key: Path
    certificate: Path

    def context(self) -> ssl.SSLContext:
        return contexts.client(self.ca_pem, self.certificate, self.key)


class SecuredNode(ProcessNode):
    """A node that listens on 127.0.0.1 with TLS. `call` goes over TLS as `who`; None is nobody."""

    who: Certified | None = None
    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_pem(self) -> str:
        path = self.home / "journal" / "keys" / "ca" / "1.json"
        return str(json.loads(path.read_text())["certificate"])

    def endpoint(self, who: Certified | None = None, token: str = "") -> TlsEndpoint:
        return TlsEndpoint((self.url,), who.context() if who else contexts.client(self.ca_pem), token)

    def call(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer:
        if self.who is None:
            return super().call(method, path, body, headers)
        connection = connect(self.endpoint(self.who), 60.0)
        try:
            connection.request(method, path, as_bytes(body), dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def admin(self, method: str, path: str, body: Body = None) -> Answer:
        """A call through the Unix socket."""
        return super().call(method, path, body)

    def authority(self) -> Authority:
        """The site's authority with its private key, as the node has it."""
        with journal_of(self.home) as journal:
            found = read_authority(journal)
            assert found is not None
            return found

    def certify(self, host: str) -> Certified:
        """Enrol a host as its agent does."""
        told = self.admin("POST", "/v1/enrolments", {"host": host})
        assert told.status == 201, told.text
        folder = self.home / "hosts" / f"{host}-{len(list((self.home / 'hosts').glob('*')))}"
        folder.mkdir(parents=True)
        key = requests.new_key()
        asked = {"token": told.json["token"], "host": host, "csr": requests.request(key, host)}
        answer = request_json(self.endpoint(), "POST", "/v1/enrol", asked)
        (folder / "host.key").write_bytes(key)
        (folder / "host.pem").write_text(answer["certificate"])
        return Certified(host, answer["ca"], folder / "host.key", folder / "host.pem")


@contextmanager
def secured_node(home: Path, **settings: Any) -> Iterator[SecuredNode]:
    """A node process with TLS; `settings` go into its node.json."""
    port = free_port()
    (home / "node").mkdir(parents=True, exist_ok=True)
    told = {"site": SITE, "host": "localhost", "urls": [f"https://127.0.0.1:{port}"], "listen": f"127.0.0.1:{port}"}
    (home / "node" / "node.json").write_text(json.dumps({**told, **settings}))
    with Site(home) as site:
        site.start_node()
        node = SecuredNode(site)
        node.port = port
        yield node


def refused(node: SecuredNode, what: str, kind: str = "") -> list[dict[str, Any]]:
    """Refusals in the audit stream."""
    return [act for act in acts(node.home) if act["what"] == what and kind in ("", act["details"].get("kind"))]


def recorded(node: SecuredNode, what: str, kind: str) -> None:
    wait_for(lambda: bool(refused(node, what, kind)), 120, f"{what} of kind {kind} in the audit stream")


def raw(node: SecuredNode, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), 10, (source, 0))


def is_closed(connected: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection within that time, whatever it says before."""
    end = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while True:
            connected.settimeout(max(0.01, end - time.monotonic()))
            try:
                if not connected.recv(65536):
                    return True
            except TimeoutError:
                return False
    return True


def certificate_of(folder: Path, ca_pem: str, issue: Callable[[str], str]) -> Certified:
    """A host's files with a certificate of somebody's choice."""
    folder.mkdir(exist_ok=True)
    key = requests.new_key()
    (folder / "key").write_bytes(key)
    (folder / "pem").write_text(issue(requests.request(key, HOST)))
    return Certified(HOST, ca_pem, folder / "key", folder / "pem")


def desired(node: SecuredNode, who: Certified | None, host: str = HOST) -> dict[str, Any]:
    return request_json(node.endpoint(who), "GET", f"/v1/agents/{host}/desired")
