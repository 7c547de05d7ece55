"""How simulated agents reach their node, as a plan says it: over its socket, or over TLS with a certificate each.

A plan has `socket`, or `url`, `ca_pem` and `hosts`: {host: [path of its key, path of its certificate]}.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.agent.ship.client import HttpNode
from engine.env.endpoint import Endpoint, TlsEndpoint, UnixEndpoint
from engine.identity import contexts
from engine.model.errors import Refused

Plan = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Fixed:
    """engine.agent.host.where.Where for one endpoint that never changes."""

    _endpoint: Endpoint

    def endpoint(self) -> Endpoint:
        return self._endpoint

    def reached(self, host: str, port: int) -> None:
        pass

    def refused(self, endpoint: Endpoint, error: Refused) -> None:
        pass

    def arguments(self) -> list[str]:
        return []


def clients(plan: Plan, host: str) -> Callable[[], HttpNode]:
    """Makes the agent's own client for a host; each has a connection of its own."""
    if "socket" in plan:
        where = _Fixed(UnixEndpoint(Path(plan["socket"])))
    else:
        where = _Fixed(TlsEndpoint((plan["url"],), _context(plan, host)))
    return lambda: HttpNode(where)


async def streams(plan: Plan, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection for a host on the event loop."""
    if "socket" in plan:
        return await asyncio.open_unix_connection(plan["socket"])
    url = urlsplit(plan["url"])
    own = ipaddress.IPv4Address("127.1.0.1") + sorted(plan["hosts"]).index(host)  # nodes count by address
    return await asyncio.open_connection(url.hostname, url.port, ssl=_context(plan, host), local_addr=(str(own), 0))


def _context(plan: Plan, host: str) -> ssl.SSLContext:
    key, certificate = plan["hosts"][host]
    return contexts.client(plan["ca_pem"], Path(certificate), Path(key))
