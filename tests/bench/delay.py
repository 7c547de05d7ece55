"""A line with delay, without privileges: what goes in at one end comes out at the other that much later.

It carries TCP connections to one port and delays each byte, both ways; it drops and shapes nothing. The kernel's own
windows end at its ends, so a line of the real length can only be slower for bulk, never for a few kilobytes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 256 << 10


@contextmanager
def delayed(port: int, delay_seconds: float) -> Iterator[int]:
    """A port of 127.0.0.1 behind which the given one is, `delay_seconds` away each way."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_server(
            lambda reader, writer: _joined(reader, writer, port, delay_seconds), "127.0.0.1", 0
        )

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, delay_seconds: float) -> None:
    await asyncio.sleep(2 * delay_seconds)  # a connection takes a way there and back
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(
        _carry(reader, there_writer, delay_seconds), _carry(there_reader, writer, delay_seconds), return_exceptions=True
    )


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            loop.call_later(delay_seconds, writer.write, chunk)
    loop.call_later(delay_seconds, writer.close)
