"""How many may come in: connections in all, handshakes under way, and how many of one address or one host.

Who has no certificate is counted by address, who has one by name: the agents behind one address are many, and no
stranger's doing keeps them out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from engine.node.caller import Caller


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be. Those who come with a certificate are counted by host, others by address."""

    connections: int = 8192
    handshakes: int = 2048
    handshakes_an_address: int = 512
    unknown_an_address: int = 256
    connections_a_host: int = 1024
    handshake_seconds: float = 10.0


@dataclass(slots=True)
class Gate:
    """Counts what is there against the limits."""

    limits: Limits
    connections: int = 0
    handshakes: int = 0
    shaking: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)

    def closed_to(self, address: str) -> str:
        """Why an address is not let in now; empty when it is."""
        if self.connections >= self.limits.connections:
            return "too many connections"
        if self.handshakes >= self.limits.handshakes:
            return "too many handshakes"
        if self.shaking[address] >= self.limits.handshakes_an_address:
            return "too many handshakes of one address"
        return ""

    def begin(self, address: str) -> None:
        self.connections += 1
        self.handshakes += 1
        self.shaking[address] += 1

    def end_handshake(self, address: str) -> None:
        self.handshakes -= 1
        _less(self.shaking, address)

    def enter(self, caller: Caller, address: str) -> str:
        """Count a connection whose handshake is done; why it is one too many, or empty."""
        who, most = self._of(caller, address)
        self.present[who] += 1
        return "too many connections of one host or address" if self.present[who] > most else ""

    def leave(self, caller: Caller | None, address: str) -> None:
        self.connections -= 1
        if caller is not None:
            _less(self.present, self._of(caller, address)[0])

    def _of(self, caller: Caller, address: str) -> tuple[str, int]:
        if caller.kind in ("agent", "node"):
            return f"{caller.kind} {caller.name}", self.limits.connections_a_host
        return address, self.limits.unknown_an_address


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
