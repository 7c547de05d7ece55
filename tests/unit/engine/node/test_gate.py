"""Who is let in: by address while nobody knows them, by name afterwards."""

from __future__ import annotations

from engine.node.caller import Caller
from engine.node.gate import Gate, Limits

A, B = "192.0.2.1", "192.0.2.2"


def agent(name: str, address: str = A) -> Caller:
    return Caller("agent", name, f"{address}:1", name)


def nobody(address: str) -> Caller:
    return Caller("nobody", "", f"{address}:1")


def test_handshakes_are_bounded_in_all_and_by_address() -> None:
    gate = Gate(Limits(handshakes=3, handshakes_an_address=2))
    for _ in range(2):
        assert not gate.closed_to(A)
        gate.begin(A)
    assert gate.closed_to(A) == "too many handshakes of one address"
    assert not gate.closed_to(B)
    gate.begin(B)
    assert gate.closed_to(B) == "too many handshakes"
    gate.end_handshake(A)
    assert not gate.closed_to(A) and not gate.closed_to(B)


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
            gate.begin(A)
            gate.end_handshake(A)
            if caller is not None:
                gate.enter(caller, B)
        assert gate.closed_to(A) == "too many connections"
        for _ in range(2):
            gate.leave(caller, B)
        assert not gate.closed_to(A)
    assert (gate.connections, gate.handshakes, dict(gate.shaking), dict(gate.present)) == (0, 0, {}, {})
