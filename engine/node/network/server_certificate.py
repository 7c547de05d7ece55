"""The node's own certificate: issued by itself under the site's authority at each start, and again before it ends.

Its files are BCS_HOME/node/tls.key and tls.pem; the private key is new each time. The authority's certificate, which
is public, lies beside them in ca.pem for whoever deploys agents.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from engine.env import durable
from engine.env.clock import Clock
from engine.env.endpoint import host_and_port
from engine.identity import contexts
from engine.identity.authority import Authority, issue_to_node
from engine.node.settings import NodeSettings

ALWAYS = ("localhost", "127.0.0.1", "::1")


@dataclass(slots=True)
class ServerCertificate:
    """`context` is what handshakes use; it takes over a new certificate while it is in use."""

    home: Path
    settings: NodeSettings
    authority: Authority
    clock: Clock
    context: ssl.SSLContext = field(init=False)
    _renew_at: int = 0

    def __post_init__(self) -> None:
        durable.replace(self.home / "node" / "ca.pem", self.authority.pem.encode(), mode=0o644)
        self._issue()
        self.context = contexts.server(self.authority.pem, self._certificate, self._key)

    def renew_if_due(self) -> bool:
        """A new one once two thirds of the life are over; whether there is one."""
        if self.clock.now() < self._renew_at:
            return False
        self._issue()
        contexts.load(self.context, self._certificate, self._key)
        return True

    @property
    def _certificate(self) -> Path:
        return self.home / "node" / "tls.pem"

    @property
    def _key(self) -> Path:
        return self.home / "node" / "tls.key"

    def _issue(self) -> None:
        now, settings = self.clock.now(), self.settings
        names = [settings.host, *(host_and_port(url)[0] for url in settings.urls), *ALWAYS]
        issued, key = issue_to_node(
            self.authority, settings.site, settings.host, names, settings.certificate_seconds, now
        )
        durable.replace(self._key, key.encode())
        durable.replace(self._certificate, issued.pem.encode())
        self._renew_at = now + (issued.not_after - now) * 2 // 3
