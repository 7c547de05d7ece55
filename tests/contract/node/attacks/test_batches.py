"""Batches that no agent of ours sends, over real TLS."""

from __future__ import annotations

import contextlib

import pytest
import zstandard

from engine.env.endpoint import connect
from engine.wire.limits import BATCH_BYTES_MAX
from tests.nodes import Writer, file_of
from tests.secured import (
    HOST,
    SecuredNode,
    recorded,
)


@pytest.mark.usefixtures("still_good")
def test_replayed_reordered_and_rewritten_batches(node: SecuredNode, good: Writer) -> None:
    first = good.batch(file_of(b"first", b"replayed"))
    assert good.post(first).status == 200
    assert good.post(first).json["duplicate"]
    lsn, prev = good.lsn, good.prev
    second = good.batch(file_of(b"second", b"replayed"))
    third = good.batch(file_of(b"third", b"replayed"))
    told = good.post(third)
    assert (told.status, told.error["code"]) == (409, "out-of-order")
    assert good.post(second).status == 200
    assert good.post(third).status == 200
    other = good.batch(file_of(b"another history", b"replayed"), lsn_first=lsn + 1, prev=prev)
    assert good.post(other).status == 422
    recorded(node, "batch-refused", "conflict")


@pytest.mark.usefixtures("still_good")
def test_oversized_bodies_are_refused_before_they_are_read(node: SecuredNode, good: Writer) -> None:
    assert isinstance(good.node, SecuredNode)
    connection = connect(node.endpoint(good.node.who), 60)
    connection.putrequest("POST", f"/v1/streams/{good.stream}/batches?host={HOST}")
    connection.putheader("Content-Length", str(BATCH_BYTES_MAX + 1))
    connection.endheaders()
    with contextlib.suppress(OSError):
        for _ in range(64):
            connection.send(b"x" * 65536)
    answer = connection.getresponse()
    assert answer.status == 413, answer.read()
    connection.close()
    recorded(node, "batch-refused", "too-large")


@pytest.mark.usefixtures("still_good")
def test_a_compressed_bomb_costs_no_memory(node: SecuredNode, good: Writer) -> None:
    before = node.memory_bytes("VmHWM")
    body = bytearray(good.batch(file_of(b"x" * 100_000), lsn_first=good.lsn + 1))
    at = body.find(b"\x28\xb5\x2f\xfd")  # a zstd frame's first bytes
    assert at > 0
    bomb = zstandard.compress(bytes(1 << 30), 19)
    for forged in (bytes(body[:at]) + bomb, bomb, bytes(body[:at]) + bomb + bytes(body[at:])):
        told = good.post(forged)
        assert told.status in (400, 413, 422), told.text
    recorded(node, "batch-refused", "malformed")
    assert node.memory_bytes("VmHWM") - before < 300 << 20
