"""Many clients, and bodies that are bombs, at once: a node as a process stays within its limits."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from engine.wire.limits import COLUMNS_BYTES_MAX
from tests.malformed import closed, opened
from tests.nodes import (
    HOST,
    ProcessNode,
    Writer,
    apply,
    file_of,
    held_by_stream,
    process_node,
    source,
    wait_for,
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ProcessNode]:
    with process_node(tmp_path / "home") as node:
        yield node


@pytest.fixture
def writer(node: ProcessNode) -> Writer:
    return Writer(node, f"group/{HOST}/files").protect()


def test_two_hundred_connections_at_once(node: ProcessNode) -> None:
    writers = [Writer(node, f"many/{HOST}/files{number}") for number in range(200)]
    apply(node, *(source(each.address) for each in writers))
    together = threading.Barrier(200)

    def work(each: Writer) -> int:
        together.wait(120)
        each.open(None)
        return int(each.send(file_of(each.address.encode(), kind="baseline"))["position"]["lsn"])

    with ThreadPoolExecutor(200) as pool:
        assert list(pool.map(work, writers)) == [4] * 200
    held = held_by_stream(node.home)
    assert all(len(held[each.stream]) == 1 for each in writers)


def test_bombs_and_large_batches_take_bounded_memory(node: ProcessNode, writer: Writer) -> None:
    writer.send(file_of(b"x" * 1_000_000, kind="baseline"))
    header, columns, frames = opened(writer.batch(file_of(b"y" * 200_000), lsn_first=writer.lsn + 1))
    bomb = zstandard.ZstdCompressor().compress(bytes(COLUMNS_BYTES_MAX))
    of_columns = closed({**header, "columns": [len(bomb), COLUMNS_BYTES_MAX]}, bomb, frames)
    packed = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    of_frames = closed({**header, "frames": [[len(packed), 1 << 30, 1]]}, columns, packed)
    before = node.memory_bytes()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(writer.post, [of_columns, of_frames] * 16))
    assert {answer.status for answer in answers} == {422}
    grown = node.memory_bytes("VmHWM") - before
    assert grown < 3 * COLUMNS_BYTES_MAX, f"grew by {grown >> 20} MiB"


def test_a_flood_of_bodies_is_held_within_limits(node: ProcessNode) -> None:
    """Twelve senders of 40 MiB each that all stall before the end: some are asked to come again, and memory stays."""
    writers = [Writer(node, f"flood/{HOST}/files{number}") for number in range(12)]
    apply(node, *(source(each.address) for each in writers))
    before = node.memory_bytes()
    block = bytes(1 << 20)
    connections = []
    try:
        for each in writers:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(120)
            connections.append(connection)
            connection.connect(os.fspath(node.site.socket))
            path = f"/v1/streams/{each.stream}/batches?host={HOST}"
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {41 << 20}\r\n\r\n".encode())
            for _ in range(40):
                connection.sendall(block)
        assert node.call("GET", "/v1/health").status == 200
        wait_for(lambda: sum(map(readable, connections)) >= 4, 120, "some to be refused")
        refused = [each for each in connections if readable(each)]
        assert len(refused) <= 8
        assert all(b" 503 " in each.recv(100) for each in refused)
        assert node.memory_bytes() - before < 500 << 20
    finally:
        for connection in connections:
            connection.close()
    writers[0].open(None)
    assert writers[0].send(file_of(b"x", kind="baseline"))["position"] == {"epoch": 1, "lsn": 4}


def readable(connection: socket.socket) -> bool:
    import select

    return bool(select.select([connection], [], [], 0.5)[0])
