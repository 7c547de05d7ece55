"""What systemd hears of a service: over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env import notify
from engine.env.clock import Clock


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(120)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


class Turned(Clock):
    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


def test_a_state_is_told(systemd: socket.socket) -> None:
    assert notify.tell(notify.READY)
    assert systemd.recv(100) == b"READY=1"


def test_an_abstract_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0bcs-notify-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@bcs-notify-{os.getpid()}")
        assert notify.tell(notify.STOPPING)
        assert heard.recv(100) == b"STOPPING=1"


def test_nobody_wants_to_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.tell(notify.READY)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify.tell(notify.READY)


def test_the_pulse_beats_twice_in_what_systemd_waits(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    clock = Turned()
    pulse = notify.Pulse(clock)
    for _ in range(3):
        pulse.beat()
    clock.seconds += 30.0
    pulse.beat()
    systemd.setblocking(False)
    heard = [systemd.recv(100), systemd.recv(100)]
    assert heard == [b"WATCHDOG=1", b"WATCHDOG=1"]
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_the_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert notify.watchdog_seconds() == 0.0
