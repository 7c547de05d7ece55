"""What a node makes of JSON that others send: bodies, policies, marks, reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.nodes import HOST, Node, Writer, acts, apply, file_of, objects, source, stored

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
    asked = node.call("POST", "/v1/marks", {"group": "own", "label": "before-the-upgrade"})
    assert asked.status == 201
    marks = {one["address"]: one["id"] for one in asked.json["marks"]}
    assert set(marks) == {"own/web1/files", "own/web2/files"}
    desired = node.call("GET", "/v1/agents/web1/desired").json
    assert [(each["address"], each["paths"]) for each in desired["sources"]] == [("own/web1/files", ["/srv/a"])]
    assert desired["sources"][0]["exclude"] == ["*.o", r"/srv/a/\[x\]"]
    assert [(each["id"], each["label"]) for each in desired["marks"]] == [
        (marks["own/web1/files"], "before-the-upgrade")
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
    for label in ("", " ", "x" * 101, "a\nb", "\x1b[31m", "\ud800", "a b/c", "../../etc", "-x"):
        assert node.call("POST", "/v1/marks", {"group": "marked", "label": label}).status == 400, label
    for label in ("x", "ü" * 100, "release-1.2_späte-Änderung"):
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


def os_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


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
