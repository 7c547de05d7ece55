"""Who is let in: by address while nobody knows them, by name afterwards."""

from __future__ import annotations

import pytest

from engine.node.callers.caller import Caller
from engine.node.network.gate import ADDRESSES_MAX, Gate, Limits, network_of

A, B = "192.0.2.1", "192.0.2.2"


def agent(name: str, address: str = A) -> Caller:
    return Caller("agent", name, f"{address}:1", name)


def nobody(address: str) -> Caller:
    return Caller("nobody", "", f"{address}:1")


def test_handshakes_are_bounded_in_all_and_by_address() -> None:
    gate = Gate(Limits(handshakes=3, handshakes_an_address=2))
    for _ in range(2):
        assert not gate.closed_to(A, 0.0)
        gate.begin(A, 0.0)
    assert gate.closed_to(A, 0.0) == "too many handshakes of one address"
    assert not gate.closed_to(B, 0.0)
    gate.begin(B, 0.0)
    assert gate.closed_to(B, 0.0) == "too many handshakes"
    gate.end_handshake(A)
    assert not gate.closed_to(A, 0.0) and not gate.closed_to(B, 0.0)


def test_agents_behind_one_address_are_counted_by_name() -> None:
    gate = Gate(Limits(unknown_an_address=1, connections_a_host=2))
    assert not gate.enter(nobody(A), A)
    assert gate.enter(nobody(A), A)
    for host in ("a", "b", "c"):
        assert not gate.enter(agent(host), A)
        assert not gate.enter(agent(host), A)
        assert gate.enter(agent(host), A)


def test_what_leaves_makes_room_and_leaves_nothing_behind() -> None:
    gate = Gate(Limits(connections=2))
    for caller in (agent("a"), nobody(B), None):
        for _ in range(2):
            gate.begin(A, 0.0)
            gate.end_handshake(A)
            if caller is not None:
                gate.enter(caller, B)
        assert gate.closed_to(A, 0.0) == "too many connections"
        for _ in range(2):
            gate.leave(caller, B)
        assert not gate.closed_to(A, 0.0)
    assert (gate.connections, gate.handshakes, dict(gate.shaking), dict(gate.present)) == (0, 0, {}, {})


def test_an_address_has_a_burst_and_then_a_rate() -> None:
    gate = Gate(Limits(burst_an_address=10, handshakes_a_second=2))

    def let_in(address: str, now: float) -> int:
        count = 0
        while count < 100 and not gate.closed_to(address, now):
            gate.begin(address, now)
            gate.end_handshake(address)
            count += 1
        return count

    assert let_in(A, 1000.0) == 11
    assert gate.closed_to(A, 1000.0) == "too many handshakes a second of one address"
    assert let_in(B, 1000.0) == 11
    assert let_in(A, 1003.0) == 6
    assert let_in(A, 2000.0) == 11


def test_addresses_are_forgotten() -> None:
    gate = Gate(Limits())
    for number in range(3 * ADDRESSES_MAX):
        gate.begin(f"192.0.2.{number}", float(number))
        gate.end_handshake(f"192.0.2.{number}")
    assert len(gate._paid_until) <= ADDRESSES_MAX + 1


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
    ],
)
def test_what_an_address_counts_as(address: str, network: str) -> None:
    assert network_of(address) == network
