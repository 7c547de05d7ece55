"""Ports of loopback for servers that tests start."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

RANGE = range(20_000, 32_000)
"""Below those that the kernel gives to whoever asks for any, and to connections: nobody gets one of these by chance
between the moment in which it is chosen and that in which it is used."""


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens."""
    while True:
        port = random.SystemRandom().choice(RANGE)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
