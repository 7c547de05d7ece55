"""Taking requests: a reader gets what is there, waits for what is not, and looks again only where that has paid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.env.clock import Clock
from engine.fuse.taking import LOOKS_MAX, SOON_SECONDS, Taking


class Steps(Clock):
    """Each look at it finds it `seconds` later."""

    seconds = 0.0
    _at = 0.0

    def monotonic(self) -> float:
        self._at += self.seconds
        return self._at


class Asked:
    """Somebody who asks as soon as he is waited for."""

    def __init__(self, writer: int) -> None:
        self._writer = writer

    def poll(self) -> None:
        os.write(self._writer, b"x")


@pytest.fixture
def device() -> Iterator[tuple[int, int]]:
    """(what is read from, what writes to it); it stands for /dev/fuse."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_what_is_there_is_read_and_what_is_not_is_waited_for(device: tuple[int, int]) -> None:
    reader, writer = device
    buffer = bytearray(10)
    it = Taking(reader)
    os.write(writer, b"one")
    assert it.read(buffer) == 3
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(it.read, buffer)
        os.write(writer, b"later")
        assert waiting.result(10) == 5
    assert buffer[:5] == b"later"


def test_it_looks_more_often_after_short_waits_alone(device: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    clock, reader = Steps(), device[0]
    it = Taking(reader, clock=clock)
    it._device = Asked(device[1])  # type: ignore[assignment]
    looks = []
    for seconds in [2 * SOON_SECONDS, *[0.0] * 20, 2 * SOON_SECONDS, 2 * SOON_SECONDS]:
        clock.seconds = seconds
        assert it.read(bytearray(1)) == 1
        looks.append(it._looks)
    assert looks[:4] == [0, 12, 18, 21]
    assert looks[-3:] == [23, 11, 5]
    assert max(looks) <= LOOKS_MAX


def test_one_processor_is_left_to_who_asks(device: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    reader, writer = device
    it = Taking(reader, clock=Steps())
    for _ in range(3):
        os.write(writer, b"x")
        it.read(bytearray(1))
    assert it._looks == 0
