"""A cable with a distance: two TAP devices in two network namespaces and this process between them.

    relay.py NAMESPACE_A DEVICE_A NAMESPACE_B DEVICE_B SHAPE.json

SHAPE.json is read anew when it changes: delay_ms and jitter_ms each way, loss from 0 to 1, rate_mbit.
Packets keep their order; beyond half a second of queue they are dropped. For kernels without sch_netem.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.lab.namespaces import enter

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
QUEUE_SECONDS = 0.5
LOOK_SECONDS = 0.1
BURST = 64
PACKET_MAX = 65536


@dataclass(frozen=True, slots=True)
class Shape:
    """All zero: as if it were a cable."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float = 0.0


@dataclass(slots=True)
class Direction:
    """From one device to the other: what was sent last, and until when the line is taken."""

    source: int
    target: int
    last: float = 0.0
    free: float = 0.0


@dataclass(slots=True)
class Relay:
    shape_file: Path
    directions: dict[int, Direction]
    shape: Shape = field(default_factory=Shape)
    stamp: int = 0
    queue: list[tuple[float, int, int, bytes]] = field(default_factory=list)
    count: int = 0

    def look(self) -> None:
        """Take the shape from its file when that has changed."""
        stamp = self.shape_file.stat().st_mtime_ns
        if stamp != self.stamp:
            self.shape, self.stamp = Shape(**json.loads(self.shape_file.read_text())), stamp

    def take(self, way: Direction) -> None:
        """Read a burst of packets and send, queue or lose each."""
        shape = self.shape
        for _ in range(BURST):
            try:
                packet = os.read(way.source, PACKET_MAX)
            except BlockingIOError:
                return
            if shape.loss and random.random() < shape.loss:
                continue
            now = time.monotonic()
            due = now + shape.delay_ms / 1e3 + random.random() * shape.jitter_ms / 1e3
            if shape.rate_mbit:
                if way.free - now > QUEUE_SECONDS:
                    continue
                way.free = max(way.free, now) + len(packet) * 8 / (shape.rate_mbit * 1e6)
                due += way.free - now
            way.last = due = max(due, way.last)
            self.count += 1
            heapq.heappush(self.queue, (due, self.count, way.target, packet))

    def send(self) -> float:
        """Send what is due; seconds until there is more to do."""
        now = time.monotonic()
        while self.queue and self.queue[0][0] <= now:
            _, _, target, packet = heapq.heappop(self.queue)
            try:
                os.write(target, packet)
            except OSError:
                pass  # the other end is down: the packet is lost, as on a line
        return min(self.queue[0][0] - now, LOOK_SECONDS) if self.queue else LOOK_SECONDS


def tap(namespace: Path, name: str) -> int:
    """A new TAP device in the namespace; it goes with its descriptor."""
    enter(namespace)
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return descriptor


def main(argv: list[str]) -> None:
    a = tap(Path(argv[0]), argv[1])
    b = tap(Path(argv[2]), argv[3])
    relay = Relay(Path(argv[4]), {a: Direction(a, b), b: Direction(b, a)})
    relay.look()
    poll = select.epoll()
    poll.register(a, select.EPOLLIN)
    poll.register(b, select.EPOLLIN)
    print("ready", flush=True)
    looked = time.monotonic()
    while True:
        for source, _ in poll.poll(relay.send()):
            relay.take(relay.directions[source])
        if time.monotonic() - looked > LOOK_SECONDS:
            relay.look()
            looked = time.monotonic()


if __name__ == "__main__":
    main(sys.argv[1:])
