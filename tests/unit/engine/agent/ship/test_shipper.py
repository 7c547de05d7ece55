"""Several batches of one stream in flight: the node gets each once and in order, whatever fails in the middle."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.agent.kept.record import NOWHERE
from engine.agent.kept.spool import Spool
from engine.agent.ship import client, window
from engine.agent.ship import shipper as ship
from engine.agent.ship.client import Head, OutOfOrder
from engine.agent.ship.shipper import Parcel, Shipper
from engine.model.errors import BcsError, Refused, Unreachable
from engine.wire.batch import NO_HASH

SECONDS = 20.0


def hash_of(number: int) -> bytes:
    return number.to_bytes(16, "big") if number else NO_HASH


def parcel(number: int, size: int = 100) -> Parcel:
    return Parcel(number, number, hash_of(number), 1, number, number, NOWHERE, [b"%d" % number], size)


@dataclass
class ScriptedNode:
    """Takes batches that are their own numbers. `answer` may raise, or wait, for a batch that has come."""

    kept: bool = True
    head: int = 0
    answer: Callable[[int], None] = lambda number: None
    arrived: list[int] = field(default_factory=list)
    inside: int = 0
    inside_max: int = 0
    connections: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def connect(self) -> Any:
        self.connections += 1
        return self

    def close(self) -> None:
        pass

    def send(self, stream: str, host: str, buffers: Sequence[bytes], left: Callable[[], None]) -> None:
        number = int(buffers[0])
        with self.changed:
            self.arrived.append(number)
            self.inside += 1
            self.inside_max = max(self.inside_max, self.inside)
            self.changed.notify_all()
        try:
            left()
            self.answer(number)
            self._commit(number)
        finally:
            with self.changed:
                self.inside -= 1
                self.changed.notify_all()

    def _commit(self, number: int) -> None:
        with self.changed:
            if self.kept:
                self.changed.wait_for(lambda: self.head >= number - 1, 0.3)
            if number <= self.head:
                return
            if number != self.head + 1:
                raise OutOfOrder(Head(1, self.head, hash_of(self.head)))
            self.head = number
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, SECONDS), (self.arrived, self.inside, self.head)


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def shipper(node: ScriptedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shipper]:
    monkeypatch.setattr(ship, "RETRY_SECONDS_FIRST", 0.01)
    monkeypatch.setattr(ship, "REFUSED_RETRY_SECONDS_FIRST", 0.02)
    monkeypatch.setattr(ship, "REFUSED_RETRY_SECONDS_MAX", 0.1)
    spool = Spool(tmp_path / "spool")
    shipper = Shipper(node.connect, "stream", "host", spool)
    yield shipper
    shipper.stop()
    spool.close()


def offer(shipper: Shipper, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        shipper.offer(parcel(number))


def finished(shipper: Shipper, node: ScriptedNode, count: int) -> bool:
    assert shipper.wait_until(0, SECONDS), (shipper.message, shipper.trouble, node.arrived)
    acknowledged = shipper.acknowledged
    return node.head == count and acknowledged is not None and acknowledged.lsn_last == count


def test_a_refused_copy_is_known_by_its_code() -> None:
    told = {"error": {"code": "copy-refused", "message": "not here", "hint": "", "details": {}}}
    assert isinstance(client._error(told, 403, ""), client.CopyRefused)
    told["error"]["code"] = "refused"
    assert not isinstance(client._error(told, 403, ""), client.CopyRefused)


def test_a_few_are_in_flight_at_once_and_no_more(shipper: Shipper, node: ScriptedNode) -> None:
    let = threading.Event()
    node.answer = lambda number: let.wait(SECONDS) and None
    offer(shipper, 10)
    shipper.release()
    node.wait_for(lambda: node.inside == window.BATCHES_MAX)
    assert node.arrived == [1, 2, 3, 4] and shipper.waiting == 10
    let.set()
    assert finished(shipper, node, 10)
    assert node.inside_max == window.BATCHES_MAX and shipper.waiting_events == 0


def test_large_ones_are_fewer(shipper: Shipper, node: ScriptedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "BYTES_MAX", 250)
    let = threading.Event()
    node.answer = lambda number: let.wait(SECONDS) and None
    offer(shipper, 6)
    shipper.release()
    node.wait_for(lambda: node.inside == 2)
    let.set()
    assert finished(shipper, node, 6)
    assert node.inside_max == 2


def test_one_after_the_other_needs_one_connection(shipper: Shipper, node: ScriptedNode) -> None:
    shipper.release()
    for number in range(1, 20):
        shipper.offer(parcel(number))
        assert shipper.wait_until(0, SECONDS)
    assert node.connections == 1


def test_an_acknowledgement_holds_for_all_before(shipper: Shipper, node: ScriptedNode) -> None:
    """The first one's answer never comes; the second one's says that both are there."""
    lost = threading.Event()

    def answer(number: int) -> None:
        if number == 1:
            node._commit(1)
            lost.wait(SECONDS)
            raise Unreachable("the answer was lost")

    node.answer = answer
    offer(shipper, 2)
    shipper.release()
    assert finished(shipper, node, 2)
    lost.set()
    offer(shipper, 3, first=3)
    assert finished(shipper, node, 5)
    assert node.arrived == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kept", [True, False], ids=["node keeps early ones", "node refuses early ones"])
@pytest.mark.parametrize("failing", [1, 2, 4])
@pytest.mark.parametrize("error", [Unreachable("the connection was lost"), Refused("not now"), OSError(32, "broken")])
def test_one_of_a_row_fails(
    shipper: Shipper, node: ScriptedNode, kept: bool, failing: int, error: BcsError | OSError
) -> None:
    node.kept = kept
    failed: list[int] = []

    def answer(number: int) -> None:
        if number == failing and len(failed) < 3:
            failed.append(number)
            raise error

    node.answer = answer
    offer(shipper, 12)
    shipper.release()
    assert finished(shipper, node, 12)
    assert failed == [failing] * 3 and shipper.trouble is None and shipper.message == ""


def test_a_node_that_starts_again_with_less_in_flight(shipper: Shipper, node: ScriptedNode) -> None:
    """All connections are lost at once, some batches committed and some not; then it answers again."""
    away = threading.Event()

    def answer(number: int) -> None:
        if away.is_set():
            raise Unreachable("the node is away")
        if number == 7:
            away.set()
            raise Unreachable("the node was killed")

    node.answer = answer
    offer(shipper, 20)
    shipper.release()
    node.wait_for(lambda: node.arrived.count(7) > 2)
    away.clear()
    assert shipper.message
    node.answer = lambda number: None
    assert finished(shipper, node, 20)


def test_a_node_with_another_history_is_trouble(shipper: Shipper, node: ScriptedNode) -> None:
    def answer(number: int) -> None:
        raise OutOfOrder(Head(1, 99, b"\1" * 16))

    node.answer = answer
    offer(shipper, 6)
    shipper.release()
    assert shipper.wait_until(0, SECONDS) is True  # it says so at once
    assert shipper.trouble == Head(1, 99, b"\1" * 16) and shipper.waiting == 6


def test_a_node_that_is_ahead_has_acknowledged_what_waits_here(shipper: Shipper, node: ScriptedNode) -> None:
    node.head = 3
    told: list[int] = []

    def answer(number: int) -> None:
        if not told:
            told.append(number)
            raise OutOfOrder(Head(1, 3, hash_of(3)))

    node.answer = answer
    offer(shipper, 6)
    shipper.release()
    assert finished(shipper, node, 6)


def test_any_failures_at_any_time(shipper: Shipper, node: ScriptedNode) -> None:
    source = random.Random(3)
    lock = threading.Lock()

    def answer(number: int) -> None:
        with lock:
            dice = source.random()
        if dice < 0.2:
            raise Unreachable("lost on its way")
        if dice < 0.3:
            node._commit(number)
            raise Unreachable("the answer was lost")

    node.answer = answer
    shipper.release()
    for number in range(1, 61):
        shipper.offer(parcel(number))
        if number % 7 == 0:
            shipper.wait_until(3, 0.05)
    assert finished(shipper, node, 60)


def test_what_goes_without_the_spool_is_what_the_node_takes_soon(
    shipper: Shipper, node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(ship.SYSTEM, "monotonic", lambda: now[0])
    node.answer = lambda number: now.__setitem__(0, now[0] + 0.1)
    shipper.release()
    assert not shipper.takes_soon(1), "nothing was taken yet"
    shipper.offer(parcel(1, 100))
    assert shipper.wait_until(0, SECONDS)
    assert not shipper.takes_soon(1 << 20), "100 bytes in a tenth of a second say nothing of a megabyte"
    shipper.offer(parcel(2, 1 << 20))
    assert shipper.wait_until(0, SECONDS)
    assert shipper.takes_soon(4 << 20)
    assert not shipper.takes_soon(6 << 20)
    now[0] += 2 * ship.FRESH_SECONDS
    assert not shipper.takes_soon(1), "who knows whether the node is still there"


def test_a_small_batch_does_not_tell_how_fast_large_ones_are_taken(shipper: Shipper, node: ScriptedNode) -> None:
    shipper.release()
    assert not shipper.takes_soon(12 << 20), "nothing is known of the node yet"
    shipper.offer(parcel(1, 20 << 20))
    assert finished(shipper, node, 1)
    shipper.offer(parcel(2, 100))
    assert finished(shipper, node, 2)
    assert shipper.takes_soon(12 << 20)


def test_a_node_that_takes_long_for_a_small_batch_takes_no_large_one_soon(
    shipper: Shipper, node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipper.release()
    shipper.offer(parcel(1, 20 << 20))
    assert finished(shipper, node, 1)
    monkeypatch.setattr(ship, "SOON_SECONDS", 0.0)  # whatever it takes is long
    shipper.offer(parcel(2, 100))
    assert finished(shipper, node, 2)
    assert not shipper.takes_soon(0)
