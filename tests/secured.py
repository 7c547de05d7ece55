"""Sites with a TLS listener for tests, over real TLS on loopback: a node process, and clients who are whoever they say.

`Certified` makes what a host would have: a key of its own, and the certificate that the node gave it.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.env.endpoint import TlsEndpoint, connect, request_json
from engine.identity import contexts, requests
from tests.embedded import Site
from tests.nodes import Answer, Body, ProcessNode, as_bytes

SITE = "test"


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


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


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
