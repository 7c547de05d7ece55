"""What a node answers, whoever asks and whatever is sent: over its socket, and in this process."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from engine.wire.batch import NO_HASH, BatchBuilder
from engine.wire.limits import BATCH_BYTES_MAX, COLUMNS_BYTES_MAX
from tests.nodes import (
    HOST,
    Node,
    Writer,
    acts,
    apply,
    file_of,
    files_in,
    held_by_stream,
    in_process_node,
    objects,
    process_node,
    source,
)


@pytest.fixture(scope="module", params=["process", "in this process"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = tmp_path_factory.mktemp("node") / "home"
    home.mkdir()
    with process_node(home) if request.param == "process" else in_process_node(home) as node:
        yield node


@pytest.fixture
def writer(node: Node, request: pytest.FixtureRequest) -> Writer:
    name = str(abs(hash(request.node.name)))
    return Writer(node, f"g{name}/{HOST}/files").protect()


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
    assert writer.open(here) == {**here, "cause": "", "through_at": 0}
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


# JSON.

WRONG_BODIES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"12",
    b"{",
    b"{}garbage",
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a": ' * 90 + b"1" + b"}" * 90,
    b"\xff\xfe\x00",
    b'{"\xff": 1}',
]
POSTS = [
    "/v1/agents/localhost/hello",
    "/v1/agents/localhost/status",
    "/v1/streams/0123456789abcdef/open",
    "/v1/policies",
    "/v1/marks",
    "/v1/audit",
]


@pytest.mark.parametrize("path", POSTS)
def test_what_is_no_object_is_refused(node: Node, path: str) -> None:
    before = stored(node), len(acts(node.home))
    for body in WRONG_BODIES:
        answer = node.call("POST", path, body)
        assert (answer.status, answer.error["code"]) == (400, "usage"), (body[:40], answer.text)
    assert (stored(node), len(acts(node.home))) == before


WRONG_VALUES: list[Any] = [True, 1.5, -1, "text", [], {}, ["x"], {"x": 1}, 1 << 70, "x" * 5000, "\ud800", "a\nb", None]
FIELDS = {
    "/v1/agents/localhost/hello": {"version": "1", "mechanism": "fanotify", "pid": 1},
    "/v1/agents/localhost/status": {
        "version": "1",
        "generation": 1,
        "marks_done": [],
        "sources": [{"stream": "0123456789abcdef", "state": "protected", "through_at": 1, "pending": 1,
                     "gap_from": None, "unreadable": 0, "message": "", "baseline": {"files": 1, "bytes": 1}}],
    },
    "/v1/streams/0123456789abcdef/open": {
        "host": "localhost", "writer": "w", "record": {"epoch": 1, "lsn": 1, "hash": ""}
    },
    "/v1/policies": {"base": 0, "by": "me", "commit": "c", "dirty": False, "documents": {}, "sources": {}},
    "/v1/marks": {"group": "g", "label": "l"},
    "/v1/audit": {"what": "w", "who": "me", "details": {}},
}  # fmt: skip


@pytest.mark.parametrize("path", POSTS)
def test_values_of_the_wrong_kind_are_no_fault_of_the_node(node: Node, path: str) -> None:
    """Whatever single value is replaced: an answer below 500, and the status still works."""
    for place in places(FIELDS[path]):
        for value in WRONG_VALUES:
            if path == "/v1/policies" and (place, value) in ((("sources",), {}), (("documents",), {})):
                continue
            answer = node.call("POST", path, replaced(FIELDS[path], place, value))
            assert answer.status in (200, 201, 400, 403, 404, 409), (place, value, answer.text)
    assert node.call("GET", "/v1/status").status == 200
    assert node.call("GET", "/v1/agents/localhost/desired").status == 200


def test_a_json_body_over_the_limit_is_refused(node: Node) -> None:
    answer = node.call("POST", "/v1/audit", {"what": "w", "who": "me", "details": {"x": "y" * (2 << 20)}})
    assert (answer.status, answer.error["code"]) == (413, "too-large")


def test_what_is_not_there_is_told_in_json(node: Node) -> None:
    assert node.call("GET", "/").error["code"] == "usage"
    assert node.call("GET", "/v1/nothing").status == 404
    assert node.call("GET", "/v1/streams/%FF/points").status == 404
    for method, path in (
        ("GET", "/v1/policies"),
        ("DELETE", "/v1/health"),
        ("PUT", "/v1/audit"),
        ("BREW", "/v1/audit"),
    ):
        answer = node.call(method, path)
        assert answer.status == 405
        assert path in answer.error["message"]
    assert node.call("POST", "/v1/streams/x", b"y" * 100_000).status == 404


# Policies, desired state, marks.


def test_of_two_who_apply_over_the_same_base_one_is_told(node: Node) -> None:
    number = apply(node, source("two/localhost/files"))
    body = {"base": number - 1, "documents": {}, "sources": {}, "by": "late"}
    answer = node.call("POST", "/v1/policies", body)
    assert answer.status == 409
    assert answer.error["details"] == {"base": number - 1, "latest": number}
    assert node.call("GET", "/v1/health").json["policies"] == number


BAD_SOURCES: dict[str, Any] = {
    "no object": None,
    "another address": source("bad/localhost/other"),
    "no stream": source("bad/localhost/files", stream=None),
    "a stream that is none": source("bad/localhost/files", stream="../x"),
    "an unknown kind": source("bad/localhost/files", kind="tape"),
    "no paths": source("bad/localhost/files", paths=None),
    "paths of numbers": source("bad/localhost/files", paths=[1]),
    "a relative path": source("bad/localhost/files", paths=["srv"]),
    "a path with a zero byte": source("bad/localhost/files", paths=["/srv\0"]),
    "no exclude": source("bad/localhost/files", exclude=None),
    "an exclude that is a text": source("bad/localhost/files", exclude="*.o"),
    "an ignore without path": source("bad/localhost/files", ignore=[{"reason": "x"}]),
    "no objective": source("bad/localhost/files", rpo=None),
    "an objective that is none": source("bad/localhost/files", rpo="soon"),
    "an objective of a million years": source("bad/localhost/files", rpo="1000000y"),
    "settings of numbers": source("bad/localhost/files", settings={"x": 1}),
}


@pytest.mark.parametrize("what", BAD_SOURCES)
def test_a_bad_source_is_refused_and_poisons_nothing(node: Node, what: str) -> None:
    apply(node, source("good/localhost/files"))
    before = node.call("GET", "/v1/agents/localhost/desired").json, objects(node.home, "control")
    body = {
        "base": node.call("GET", "/v1/health").json["policies"],
        "documents": {},
        "sources": {"good/localhost/files": source("good/localhost/files"), "bad/localhost/files": BAD_SOURCES[what]},
        "by": "me",
    }
    answer = node.call("POST", "/v1/policies", body)
    assert (answer.status, answer.error["code"]) == (400, "usage")
    assert "bad/localhost/files" in answer.error["message"]
    after = node.call("GET", "/v1/agents/localhost/desired").json
    assert {**after, "time": 0} == {**before[0], "time": 0}
    assert objects(node.home, "control") == before[1]
    assert node.call("GET", "/v1/status").status == 200


def test_two_sources_with_one_stream_are_refused(node: Node) -> None:
    first, second = source("one/localhost/a"), source("one/localhost/b")
    sources = {each["address"]: {**each, "stream": first["stream"]} for each in (first, second)}
    body = {"base": node.call("GET", "/v1/health").json["policies"], "documents": {}, "sources": sources, "by": "me"}
    assert node.call("POST", "/v1/policies", body).status == 400


def test_an_agent_gets_its_own_sources_and_marks(node: Node) -> None:
    apply(
        node,
        source("own/web1/files", "/srv/a", exclude=["*.o"], ignore=[{"path": "/srv/a/[x]", "reason": "because"}]),
        source("own/web2/files", "/srv/b"),
        keep=False,
    )
    asked = node.call("POST", "/v1/marks", {"group": "own", "label": "before the upgrade"})
    assert asked.status == 201
    marks = {one["address"]: one["id"] for one in asked.json["marks"]}
    assert set(marks) == {"own/web1/files", "own/web2/files"}
    desired = node.call("GET", "/v1/agents/web1/desired").json
    assert [(each["address"], each["paths"]) for each in desired["sources"]] == [("own/web1/files", ["/srv/a"])]
    assert desired["sources"][0]["exclude"] == ["*.o", r"/srv/a/\[x\]"]
    assert [(each["id"], each["label"]) for each in desired["marks"]] == [
        (marks["own/web1/files"], "before the upgrade")
    ]

    both = list(marks.values())
    report = {"version": "1", "generation": desired["generation"], "sources": [], "marks_done": [*both, "unknown"]}
    assert node.call("POST", "/v1/agents/web1/status", report).status == 200
    done = {address: node.call("GET", f"/v1/marks/{id}").json["done"] for address, id in marks.items()}
    assert done == {"own/web1/files": True, "own/web2/files": False}  # another host's mark is not its to call done
    assert node.call("GET", "/v1/agents/web1/desired").json["marks"] == []


def test_marks_need_a_group_and_a_label_of_one_line(node: Node) -> None:
    apply(node, source("marked/localhost/files"))
    assert node.call("POST", "/v1/marks", {"group": "unknown", "label": "x"}).status == 404
    assert node.call("GET", "/v1/marks/unknown").status == 404
    for label in ("", " ", "x" * 101, "a\nb", "\x1b[31m", "\ud800"):
        assert node.call("POST", "/v1/marks", {"group": "marked", "label": label}).status == 400, label
    for label in ("x", "ü" * 100, "release 1.2 (späte Änderung)"):
        assert node.call("POST", "/v1/marks", {"group": "marked", "label": label}).status == 201, label


# Reports and status.


def test_a_report_of_names_that_are_not_utf8_is_shown(node: Node, writer: Writer) -> None:
    writer.send(file_of(b"x", kind="baseline"))
    group = writer.address.split("/")[0]
    row = {"stream": writer.stream, "state": "protected", "unreadable": 3, "message": "can't read '/srv/na\udcffme'"}
    closed = [{"path": "/srv/na\udcffme", "reason": "Permission denied"}]
    row["unreadable_paths"] = [{**closed[0], "what": "left out"}]
    report = {"version": "1", "generation": 0, "sources": [row, {**row, "stream": "0123456789abcdef"}]}
    assert node.call("POST", f"/v1/agents/{HOST}/status", report).status == 200
    status = node.call("GET", "/v1/status")
    assert status.status == 200
    [shown] = next(each["sources"] for each in status.json["groups"] if each["name"] == group)
    assert (shown["unreadable"], shown["message"]) == (3, "can't read '/srv/na\udcffme'")
    assert shown["unreadable_paths"] == closed
    assert shown["point"] == "1.4"


def test_names_that_are_not_utf8_are_listed_and_read(node: Node, writer: Writer) -> None:
    writer.send(file_of(b"content", b"na\xffme", kind="baseline"))
    listed = node.call("GET", f"/v1/streams/{writer.stream}/ls").json
    assert [os_bytes(entry["path"]) for entry in listed["entries"]] == [b"/na\xffme"]
    assert node.call("GET", f"/v1/streams/{writer.stream}/cat?path=/na%FFme").text == b"content"
    assert node.call("GET", f"/v1/streams/{writer.stream}/cat?path=/unknown").status == 404
    assert node.call("GET", f"/v1/streams/{writer.stream}/ls?at=whenever").status == 400


def test_waits_that_make_no_sense_are_refused_or_bounded(node: Node) -> None:
    generation = node.call("GET", "/v1/agents/localhost/desired").json["generation"]
    for wait in ("nan", "-5", "0", "-inf"):
        assert node.call("GET", f"/v1/agents/localhost/desired?generation={generation}&wait={wait}").status == 200
    for query in ("generation=x", "wait=soon", "generation=1.5", "generation=" + "9" * 5000):
        assert node.call("GET", f"/v1/agents/localhost/desired?{query}").status == 400


# What the tests above share.


def os_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def stored(node: Node) -> tuple[set[str], dict[str, list[Any]]]:
    """All of the journal but for the audit: packs, streams, policies, and what segments hold of which stream."""
    held = held_by_stream(node.home)
    audit = {each.split("/")[1] for each in objects(node.home, "streams") if not each.endswith("stream.json")}
    of_nodes = {stream for stream in audit if '"_audit/' in stream_document(node.home, stream)}
    return objects(node.home, "packs", "streams", "control"), {
        stream: sorted(map(repr, runs)) for stream, runs in held.items() if stream not in of_nodes
    }


def stream_document(home: Path, stream: str) -> str:
    return (home / "journal" / "streams" / stream / "stream.json").read_text()


def refusals(node: Node, writer: Writer) -> list[dict[str, Any]]:
    return [
        act
        for act in acts(node.home)
        if act["what"] == "batch-refused" and act["details"].get("stream") == writer.stream
    ]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a JSON value holds something."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*at, key)
        yield from places(each, (*at, key))


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    copy = json.loads(json.dumps(value))
    at = copy
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = by
    return copy


PREFIX = struct.Struct("<8sII32s")


def malformed(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Every kind of wrong batch: changed on its way, cut, and well hashed with contents that can't be."""
    yield "empty", b""
    yield "noise", b"BCSBATCH" + bytes(range(200))
    yield "longer", body + b"x"
    for at in range(0, len(body), 11):
        yield f"bit of byte {at}", body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]
    for length in range(1, len(body), 23):
        yield f"cut at {length}", body[:length]
    header, columns, frames = opened(body)
    for name, value in (
        ("stream", None), ("stream", 1), ("epoch", 0), ("epoch", "x"), ("epoch", 1 << 40), ("lsn_first", 0),
        ("lsn_first", 2), ("lsn_last", 1), ("lsn_last", 1 << 70), ("prev", "zz"), ("prev", "00"), ("prev", None),
        ("tables", {}), ("tables", []), ("tables", {"dentry": -1}), ("tables", {"unknown": 4}), ("columns", []),
        ("columns", [len(columns), COLUMNS_BYTES_MAX + 1]), ("columns", [-1, -1]), ("columns", [len(columns), 5]),
        ("frames", []), ("frames", [[1 << 40, 1, 1]]), ("frames", [[-1, 1, 1]]), ("frames", [[len(frames), 10, 1]]),
        ("frames", [[len(frames), len(frames), 7]]), ("frames", None),
    ):  # fmt: skip
        yield f"{name} {value}", closed({**header, name: value}, columns, frames)
    yield "no header", closed([], columns, frames)
    yield "deep header", closed_raw(b"[" * 50_000, columns, frames)
    bomb = zstandard.ZstdCompressor().compress(bytes(COLUMNS_BYTES_MAX))
    yield "columns that are a bomb", closed({**header, "columns": [len(bomb), COLUMNS_BYTES_MAX]}, bomb, frames)
    packed = zstandard.ZstdCompressor().compress(bytes(100 << 20))
    for declared in (160, 100 << 20):
        yield (
            f"frame that is a bomb of {declared}",
            closed({**header, "frames": [[len(packed), declared, 1]]}, columns, packed),
        )
    for name in (b"", b".", b"..", b"a/b", b"a\0b"):
        yield f"name {name!r}", rebuilt(header, file_of(b"x", name))
    yield "a type that is none", rebuilt(header, lambda b: b.inode(1, None, "Z", 0o644, 0, 0, 0, 0))
    yield "a negative size", rebuilt(header, lambda b: b.inode(1, None, "f", 0o644, 0, 0, -1, 0))
    yield "a file from the future", rebuilt(header, lambda b: b.dentry(1, 0, b"x", 1 << 40))
    yield "a hole at -1", rebuilt(header, lambda b: b.hole(1, 1, -1, 5))


def rebuilt(header: dict[str, Any], fill: Callable[[BatchBuilder], Any]) -> bytes:
    builder = BatchBuilder(header["stream"], header["epoch"], header["lsn_first"], bytes.fromhex(header["prev"]))
    fill(builder)
    return b"".join(builder.encode()[0])


def opened(body: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    _, _, size, _ = PREFIX.unpack_from(body)
    header = json.loads(body[PREFIX.size : PREFIX.size + size])
    at = PREFIX.size + size
    return header, body[at : at + header["columns"][0]], body[at + header["columns"][0] :]


def closed(header: Any, columns: bytes, frames: bytes) -> bytes:
    return closed_raw(json.dumps(header).encode(), columns, frames)


def closed_raw(header: bytes, columns: bytes, frames: bytes) -> bytes:
    rest = header + columns + frames
    return PREFIX.pack(b"BCSBATCH", 1, len(header), blake3(rest).digest()) + rest
