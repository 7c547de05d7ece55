"""Lines from several pipes, as they come."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator, Sequence
from typing import IO


def lines_of(pipes: Sequence[IO[bytes]]) -> Iterator[bytes]:
    """Every whole line of every pipe, in the order of arrival, until all are closed."""
    rests: dict[int, bytes] = {}
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
            rests[pipe.fileno()] = b""
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                    continue
                *lines, rests[key.fd] = (rests[key.fd] + chunk).split(b"\n")
                yield from lines
