"""How many may come in: connections in all, handshakes under way, and how many of one address or one host.

Who has no certificate is counted by address, who has one by name: the agents behind one address are many, and no
stranger's doing keeps them out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from engine.node.callers.caller import Caller

ADDRESSES_MAX = 10_000
"""Beyond it the one is forgotten that came longest ago."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be. Those who come with a certificate are counted by host, others by address.

    An address may begin `burst_an_address` handshakes at once, as when all agents behind it come back, and then
    `handshakes_a_second` of them: each costs the node about two milliseconds.
    """

    connections: int = 8192
    handshakes: int = 2048
    handshakes_an_address: int = 512
    unknown_an_address: int = 256
    connections_a_host: int = 1024
    burst_an_address: int = 4000
    handshakes_a_second: float = 100.0
    handshake_seconds: float = 10.0


@dataclass(slots=True)
class Gate:
    """Counts what is there against the limits."""

    limits: Limits
    connections: int = 0
    handshakes: int = 0
    shaking: Counter[str] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)
    _paid_until: dict[str, float] = field(default_factory=dict)

    def closed_to(self, address: str, now: float) -> str:
        """Why an address is not let in now, by a clock in seconds; empty when it is."""
        if self.connections >= self.limits.connections:
            return "too many connections"
        if self.handshakes >= self.limits.handshakes:
            return "too many handshakes"
        if self.shaking[address] >= self.limits.handshakes_an_address:
            return "too many handshakes of one address"
        if self._paid_until.get(address, 0.0) - now > self.limits.burst_an_address / self.limits.handshakes_a_second:
            return "too many handshakes a second of one address"
        return ""

    def begin(self, address: str, now: float) -> None:
        paid = max(self._paid_until.pop(address, 0.0), now)
        self._paid_until[address] = paid + 1 / self.limits.handshakes_a_second
        if len(self._paid_until) > ADDRESSES_MAX:
            del self._paid_until[next(iter(self._paid_until))]
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


def network_of(address: str) -> str:
    """What an address counts as: of IPv6 its first 64 bits, of which everybody has all that follow."""
    if ":" not in address:
        return address
    number = int(IPv6Address(address.partition("%")[0]))
    mapped = IPv6Address(number).ipv4_mapped
    return str(mapped) if mapped is not None else f"{IPv6Address(number >> 64 << 64)}/64"


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
