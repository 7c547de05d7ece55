"""What a node answers, whoever asks and whatever is sent: over its socket, and in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.wire.batch import NO_HASH, BatchBuilder
from engine.wire.limits import BATCH_BYTES_MAX
from tests.malformed import malformed
from tests.nodes import (
    HOST,
    Node,
    Writer,
    acts,
    apply,
    file_of,
    files_in,
    held_by_stream,
    objects,
    refusals,
    source,
    stored,
)


def mark(at: int = 1) -> Callable[[BatchBuilder], Any]:
    return lambda builder: builder.mark(at, "pass", point_class="quiet")


# Batches.


def test_an_acknowledged_batch_is_in_the_journal(node: Node, writer: Writer) -> None:
    first, second = b"first " * 50_000, bytes(range(256)) * 4_000
    ack = writer.send(file_of(first, b"one", kind="baseline"))
    assert ack["position"] == {"epoch": 1, "lsn": writer.lsn}
    assert ack["hash"] == writer.prev.hex()
    assert ack["duplicate"] is False
    writer.send(file_of(second, b"na\xffme"))
    assert files_in(node.home, writer) == {b"/one": first, b"/na\xffme": second}


def test_a_repeated_batch_is_a_duplicate(node: Node, writer: Writer) -> None:
    body = writer.batch(file_of(b"x", kind="baseline"))
    first, again = writer.post(body), writer.post(body)
    assert (first.status, again.status) == (200, 200)
    assert again.json == {**first.json, "duplicate": True}
    assert len(held_by_stream(node.home)[writer.stream]) == 1


def test_a_batch_out_of_order_is_told_what_is_expected(node: Node, writer: Writer) -> None:
    writer.send(file_of(b"x", kind="baseline"))
    head = writer.record
    for other in ({"lsn_first": writer.lsn + 2}, {"prev": bytes(16)}, {"epoch": 2, "lsn_first": 1, "prev": NO_HASH}):
        answer = writer.post(writer.batch(mark(), **other))
        assert answer.status == 409
        assert answer.error["code"] == "out-of-order"
        assert answer.error["details"]["expected"] == (head if "epoch" not in other else None)
    writer.send(mark())


def test_other_content_for_committed_events_is_refused_and_recorded(node: Node, writer: Writer) -> None:
    start = writer.record
    writer.send(file_of(b"x", kind="baseline"))
    head = writer.record
    other = writer.batch(file_of(b"y", kind="baseline"), lsn_first=start["lsn"] + 1, prev=bytes.fromhex(start["hash"]))
    answer = writer.post(other)
    assert answer.status == 422
    assert answer.error["code"] == "conflict"
    assert answer.error["details"]["expected"] == head
    assert refusals(node, writer)[-1]["details"]["kind"] == "conflict"
    assert files_in(node.home, writer) == {b"/file": b"x"}


def test_no_malformed_batch_leaves_a_trace(node: Node, writer: Writer) -> None:
    body = writer.batch(file_of(b"content " * 20, kind="baseline"))
    before = stored(node)
    for name, bad in malformed(body):
        answer = writer.post(bad)
        assert answer.status == 422, (name, answer.text)
        assert answer.error["code"] == "malformed-batch", name
    assert stored(node) == before
    assert {act["details"]["kind"] for act in refusals(node, writer)} == {"malformed"}
    assert writer.post(body).status == 200  # the stream goes on as if nothing had been


def test_batches_of_other_streams_are_refused(node: Node, writer: Writer) -> None:
    other = Writer(node, writer.address.replace("/files", "/other")).protect()
    before = stored(node)
    answer = writer.post(other.batch(mark()))
    assert (answer.status, answer.error["code"]) == (422, "malformed-batch")
    assert other.stream in answer.error["message"]
    for host, stream in ((HOST + "2", writer.stream), (HOST, "0123456789abcdef"), ("", writer.stream)):
        answer = writer.post(writer.batch(mark(), stream=stream), stream=stream, host=host or "\N{SNOWMAN}")
        assert (answer.status, answer.error["code"]) == (403, "refused")
        assert acts(node.home)[-1]["details"]["kind"] == "foreign"
        assert acts(node.home)[-1]["what"] == "batch-refused"
    assert stored(node) == before


def test_a_stream_is_opened_only_for_its_host(node: Node, writer: Writer) -> None:
    before = objects(node.home, "streams")
    for host, stream in ((HOST + "2", writer.stream), (HOST, "0123456789abcdef"), (HOST, "..%2F..%2Fx")):
        answer = node.call("POST", f"/v1/streams/{stream}/open", {"host": host, "writer": "w", "record": None})
        assert answer.status == (404 if "%2F" in stream else 403)
    assert objects(node.home, "streams") == before
    assert [act["what"] for act in acts(node.home)][-2:] == ["open-refused"] * 2


def test_a_source_that_is_protected_no_longer_takes_nothing_more(node: Node, writer: Writer) -> None:
    writer.send(file_of(b"x", kind="baseline"))
    apply(node, source("kept/localhost/files"), keep=False)
    assert writer.post(writer.batch(mark())).status == 403
    apply(node, source(writer.address))
    assert writer.open(writer.record)["cause"] in ("", "record behind")


def test_where_a_writer_goes_on(node: Node, writer: Writer) -> None:
    assert writer.record == {"epoch": 1, "lsn": 0, "hash": NO_HASH.hex()}
    writer.send(file_of(b"x", kind="baseline"))
    here, lsn = writer.record, writer.lsn
    assert writer.open(here) == {**here, "cause": "", "through_at": 0, "batch_version": 2}
    assert writer.open({**here, "lsn": 1})["cause"] == "record behind"
    assert writer.record == {"epoch": 2, "lsn": lsn, "hash": NO_HASH.hex()}
    assert Writer(node, writer.address, name="writer-2").open(None)["epoch"] == 3


@pytest.mark.parametrize("size", [BATCH_BYTES_MAX + 1, 1 << 62])
def test_an_oversized_batch_is_refused_unread(node: Node, writer: Writer, size: int) -> None:
    before = stored(node)
    answer = writer.post(b"only the beginning", headers={"Content-Length": str(size)})
    assert (answer.status, answer.error["code"]) == (413, "too-large")
    assert answer.headers["connection"] == "close"
    assert stored(node) == before
    assert refusals(node, writer)[-1]["details"]["kind"] == "too-large"
