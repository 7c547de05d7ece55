"""Tells systemd that a service is ready, stops, or is still alive: sd_notify(3), over its datagram socket.

Without NOTIFY_SOCKET in the environment, as outside systemd, nothing is told to anybody.
"""

from __future__ import annotations

import os
import socket

from engine.env.clock import Clock

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def tell(state: str) -> bool:
    """Send one state; False when nobody wants to know, or could be told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1.0)
            sender.sendto(state.encode(), target)
    except OSError:
        return False  # who does not hear us in time restarts us: that is the watchdog's business
    return True


def watchdog_seconds() -> float:
    """How often `ALIVE` is to be told: half of what systemd waits, and 0.0 when it does not watch this process."""
    period, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not period.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(period) / 2e6


class Pulse:
    """Tells that a loop still turns, no more often than it has to be told."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._period_seconds, self._next = clock, watchdog_seconds(), 0.0

    def beat(self) -> None:
        if self._period_seconds and self._clock.monotonic() >= self._next:
            tell(ALIVE)
            self._next = self._clock.monotonic() + self._period_seconds


async def beat() -> None:
    """Tell that the service is ready, and then that its event loop still turns, until cancelled."""
    import asyncio  # not on hosts, where it would take memory for nothing

    tell(READY)
    while period_seconds := watchdog_seconds():
        await asyncio.sleep(period_seconds)
        tell(ALIVE)
