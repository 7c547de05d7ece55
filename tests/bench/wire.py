"""Bytes on the line, counted outside: the TCP segments of one port of the loopback interface, as a line carries them.

Taken from a packet socket (packet(7), root only). The loopback interface hands over segments of up to 64 KiB; they are
counted as a line with an MTU of 1500 bytes would have to cut them, each piece with its IP and TCP headers.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ETH_P_IP = 0x0800
ETHERNET_BYTES = 14
PACKET_HOST = 0
SO_RCVBUFFORCE = 33  # socket(7)
MTU = 1500
BUFFER_BYTES = 64 << 20


@dataclass
class Counted:
    """Bytes with all headers from IP on, and the bytes that TCP carried, to the port and from it, since `begin`."""

    port: int
    to_bytes: int = 0
    from_bytes: int = 0
    to_payload: int = 0
    from_payload: int = 0
    packets: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> None:
        with self._lock:
            self.to_bytes = self.from_bytes = self.to_payload = self.from_payload = self.packets = 0

    def take(self, packet: bytes) -> None:
        """Count one packet, from its IP header on."""
        if len(packet) < 20 or packet[9] != socket.IPPROTO_TCP:
            return
        ip_bytes = (packet[0] & 15) * 4
        source, target = struct.unpack_from(">HH", packet, ip_bytes)
        if self.port not in (source, target):
            return
        headers = ip_bytes + (packet[ip_bytes + 12] >> 4) * 4
        payload = struct.unpack_from(">H", packet, 2)[0] - headers
        pieces = max(1, -(-payload // (MTU - headers)))
        with self._lock:
            self.packets += pieces
            if target == self.port:
                self.to_bytes += payload + pieces * headers
                self.to_payload += payload
            else:
                self.from_bytes += payload + pieces * headers
                self.from_payload += payload


@contextmanager
def counted(port: int) -> Iterator[Counted]:
    """Count what goes to a TCP port of this machine and comes from it, over loopback, as long as the block lasts."""
    found, stopping = Counted(port), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as tap:
        tap.bind(("lo", ETH_P_IP))
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        tap.settimeout(0.1)

        def read() -> None:
            while not stopping.is_set():
                try:
                    packet, where = tap.recvfrom(ETHERNET_BYTES + 120)
                except TimeoutError:
                    continue
                if where[2] == PACKET_HOST:  # each is there twice: as it leaves, and as it arrives
                    found.take(packet[ETHERNET_BYTES:])

        reader = threading.Thread(target=read, name="wire", daemon=True)
        reader.start()
        try:
            yield found
        finally:
            stopping.set()
            reader.join()
