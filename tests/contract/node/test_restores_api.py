"""Who is given what of a restore, and until when: the receiver that was named, what was granted, while it is open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.journal import documents
from engine.node.api import restores as restores_api
from engine.node.callers.caller import NOBODY, Caller
from engine.wire.batch import Batch, decode
from engine.wire.frames import open_frame
from tests.nodes import Answer, InProcessNode, Writer, acts, in_process_node, journal_of

ADDRESS = "g/a/files"
LOCAL = Caller("local", "root", "")
OLGA = Caller("user", "olga", "10.0.0.2:1", token="t-olga")
OTTO = Caller("user", "otto", "10.0.0.3:1", token="t-otto")
VERA = Caller("user", "vera", "10.0.0.4:1", token="t-vera")
NORA = Caller("user", "nora", "10.0.0.5:1", token="t-nora")
A = Caller("agent", "a", "10.0.0.6:1", host="a", serial="01")
B = Caller("agent", "b", "10.0.0.7:1", host="b", serial="02")
MINE, OTHERS = b"mine " * 3_000, b"others " * 3_000


def rights(user: str, role: str, *groups: str) -> dict[str, Any]:
    spec = {"subjects": [{"user": user}], "roles": [role], "groups": list(groups)}
    return {f"AccessPolicy/{user}": {"kind": "AccessPolicy", "spec": spec}}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[InProcessNode]:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        documents = rights("olga", "operator", "g") | rights("otto", "operator", "g")
        documents |= rights("vera", "viewer", "g") | rights("nora", "operator", "other")
        latest = json.loads(next((home / "journal" / "control" / "policies").glob("*.json")).read_text())
        body = {"base": 1, "documents": documents, "sources": latest["sources"], "by": "a test"}
        assert node.call("POST", "/v1/policies", body).status == 201
        hello(node, "b")
        yield node


def fill(node: InProcessNode) -> None:
    """/srv/one/mine and /srv/two/others, whose bytes share a frame."""
    writer = Writer(node, ADDRESS, "a")
    writer.open(None)

    def tree(builder: Any) -> None:
        top = builder.inode(1, None, "d", 0o755, 0, 0, 0, 1)
        builder.dentry(1, 0, b"srv", top)
        for folder, name, data in ((b"one", b"mine", MINE), (b"two", b"others", OTHERS)):
            parent = builder.inode(1, None, "d", 0o750, 0, 0, 0, 1)
            builder.dentry(1, top, folder, parent)
            file_id = builder.inode(1, None, "f", 0o640, 0, 0, len(data), 1)
            builder.dentry(1, parent, name, file_id)
            builder.extent(1, file_id, 0, data)
        builder.mark(1, "baseline", point_class="quiet")

    writer.send(tree)


def hello(node: InProcessNode, host: str) -> None:
    assert node.call("POST", f"/v1/agents/{host}/hello", {"version": "1", "pid": 1}).status == 200


def call(node: InProcessNode, caller: Caller, method: str, path: str, body: Any = None) -> Answer:
    before, node.caller = node.caller, caller
    try:
        return node.call(method, path, body)
    finally:
        node.caller = before


def ask(node: InProcessNode, caller: Caller = OLGA, **other: Any) -> Answer:
    body = {"address": ADDRESS, "at": "latest", "host": "b", "dir": "/srv/back", "verify": False, **other}
    return call(node, caller, "POST", "/v1/restores", body)


def opened(node: InProcessNode, caller: Caller = OLGA, **other: Any) -> str:
    answer = ask(node, caller, **other)
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


def plan_of(node: InProcessNode, id: str, caller: Caller = B, host: str = "b") -> Answer:
    return call(node, caller, "GET", f"/v1/restores/{id}/plan?host={host}")


def batches_of(node: InProcessNode, id: str, caller: Caller = B, host: str = "b") -> list[Batch]:
    plan = plan_of(node, id, caller, host).json
    count = sum(number for _, number in plan["steps"])
    got = [
        call(node, caller, "GET", f"/v1/restores/{id}/batches/{each}?host={host}&plan={plan['fingerprint']}")
        for each in range(count)
    ]
    assert {answer.status for answer in got} == {200}
    return [decode(answer.text) for answer in got]


def content(batches: list[Batch]) -> bytes:
    return b"".join(bytes(open_frame(frame)) for batch in batches for frame in batch.frames)


def test_the_named_host_gets_what_was_granted_and_no_byte_more(node: InProcessNode) -> None:
    whole = content(batches_of(node, opened(node)))
    assert MINE in whole and OTHERS in whole
    part = content(batches_of(node, opened(node, path="/srv/one")))
    assert part == MINE
    desired = call(node, B, "GET", "/v1/agents/b/desired").json
    assert [each["dir"] for each in desired["restores"]] == ["/srv/back"] * 2
    assert call(node, A, "GET", "/v1/agents/a/desired").json["restores"] == []


@pytest.mark.parametrize("what", ["plan", "batches/0", "progress"])
def test_nobody_else_gets_anything(node: InProcessNode, what: str) -> None:
    id = opened(node)
    method = "POST" if what == "progress" else "GET"
    for caller, host, status in (
        (NOBODY, "b", 401), (A, "a", 403), (A, "b", 403), (OLGA, "b", 403), (OLGA, "", 403), (VERA, "b", 403),
        (NORA, "b", 403), (LOCAL, "a", 403), (LOCAL, "", 403),
    ):  # fmt: skip
        answer = call(node, caller, method, f"/v1/restores/{id}/{what}?host={host}", {} if method == "POST" else None)
        assert answer.status == status, (caller, host, answer.text)
    told = [act for act in acts(node.home) if act["what"] == "access-refused"]
    assert any(id in act["details"]["error"] for act in told if act["who"] == "agent a")
    assert plan_of(node, id, LOCAL).status == plan_of(node, id).status == 200


def test_who_may_open_see_and_cancel(node: InProcessNode) -> None:
    for caller, status in ((NOBODY, 401), (VERA, 403), (NORA, 403), (B, 403)):
        assert ask(node, caller).status == status, caller
    id = opened(node)
    for caller, status in ((NOBODY, 401), (NORA, 403), (B, 403), (VERA, 200), (OLGA, 200)):
        assert call(node, caller, "GET", f"/v1/restores/{id}").status == status, caller
    assert [each["id"] for each in call(node, VERA, "GET", "/v1/restores").json["restores"]] == [id]
    assert call(node, NORA, "GET", "/v1/restores").json["restores"] == []
    for caller, status in ((NOBODY, 401), (VERA, 403), (NORA, 403), (B, 403), (OTTO, 200)):
        assert call(node, caller, "POST", f"/v1/restores/{id}/cancel", {}).status == status, caller


def test_once_it_is_over_nothing_is_given_out(node: InProcessNode) -> None:
    for end in ({"outcome": {"files": 1, "verified": True}}, {"error": {"code": "failed", "message": "no"}}, None):
        id = opened(node)
        target = f"/v1/restores/{id}/progress?host=b"
        assert call(node, B, "POST", target, {"phase": "writing", "files": 1, "bytes": 5}).json["state"] == "open"
        if end is None:
            assert call(node, OLGA, "POST", f"/v1/restores/{id}/cancel", {}).json["state"] == "cancelled"
        else:
            assert call(node, B, "POST", target, end).status == 200
        over = plan_of(node, id)
        assert over.status == 403 and over.error["details"]["state"] in ("done", "failed", "cancelled")
        assert call(node, B, "GET", f"/v1/restores/{id}/batches/0?host=b&plan=x").status == 403
        # A late word changes nothing.
        assert call(node, B, "POST", target, {"outcome": {"files": 9}}).json["state"] == over.error["details"]["state"]
        assert call(node, B, "GET", "/v1/agents/b/desired").json["restores"] == []


def test_beginning_and_end_are_in_the_audit(node: InProcessNode) -> None:
    id = opened(node, path="/srv/one")
    begun = [act for act in acts(node.home) if act["details"].get("restore") == id]
    assert [(act["what"], act["who"]) for act in begun] == [("restoring", "olga (token t-olga)")]
    outcome = {"files": 1, "bytes": 5, "verified": True, "failures": [], "damaged": False}
    call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"outcome": outcome})
    [_, end] = [act for act in acts(node.home) if act["details"].get("restore") == id]
    details = end["details"]
    assert (end["what"], end["who"]) == ("restore", "olga (token t-olga)")
    assert (details["host"], details["target"], details["path"]) == ("b", "/srv/back", "/srv/one")
    assert (details["state"], details["verified"], details["files"], details["failures"]) == ("done", True, 1, 0)
    assert begun[0]["details"]["from"] == "10.0.0.2:1" and begun[0]["details"]["plan"]["files"] == 1


def test_a_node_that_starts_again_goes_on_with_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        hello(node, "b")
        id, over = opened(node, LOCAL), opened(node, LOCAL)
        call(node, LOCAL, "POST", f"/v1/restores/{over}/cancel", {})
        before = plan_of(node, id).json
        batches = [bytes(frame.data) for batch in batches_of(node, id) for frame in batch.frames]
    with in_process_node(home) as node:
        assert plan_of(node, id).json == before
        assert [bytes(frame.data) for batch in batches_of(node, id) for frame in batch.frames] == batches
        assert plan_of(node, over).status == 403
        assert call(node, LOCAL, "GET", f"/v1/restores/{over}").json["state"] == "cancelled"
        assert plan_of(node, "0" * 16).status == 404


def test_who_can_write_to_the_store_can_grant_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        hello(node, "b")
        id = opened(node, LOCAL)
    with journal_of(home) as journal:
        key = f"control/restores/{id}/00000001.json"
        forged = {**documents.get(journal.store, key), "host": "a", "id": "f" * 16}
        documents.put(journal.store, f"control/restores/{'f' * 16}/00000001.json", forged)
    with in_process_node(home) as node:
        assert [each["id"] for each in call(node, LOCAL, "GET", "/v1/restores").json["restores"]] == [id]
        assert plan_of(node, "f" * 16, A, "a").status != 200


def test_one_who_receives_it_himself(node: InProcessNode) -> None:
    id = opened(node, OLGA, host="")
    assert content(batches_of(node, id, OLGA, "")) == content(batches_of(node, opened(node)))
    for caller in (OTTO, A, B, LOCAL, Caller("user", "olga", "", token="another")):
        assert plan_of(node, id, caller, "").status == 403, caller
    assert call(node, B, "GET", "/v1/agents/b/desired").json["restores"] != []


def test_what_makes_no_sense_is_refused(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> None:
    for other, status in (
        ({"dir": "back"}, 400), ({"dir": ""}, 400), ({"dir": "/a\0b"}, 400), ({"address": "g/a"}, 400),
        ({"address": "g/a/nothing"}, 404), ({"path": "/srv/nothing"}, 404), ({"at": "never"}, 400),
        ({"at": "2001-01-01T00:00:00Z"}, 404), ({"host": "c"}, 403), ({"host": 5}, 400),
    ):  # fmt: skip
        assert ask(node, **other).status == status, other
    assert "agent.hosts" in ask(node, host="c").error["hint"]
    id = opened(node)
    print_ = plan_of(node, id).json["fingerprint"]
    for number, plan, status in (("99", print_, 404), ("x", print_, 400), ("-1", print_, 400), ("0", "0" * 32, 403)):
        assert call(node, B, "GET", f"/v1/restores/{id}/batches/{number}?host=b&plan={plan}").status == status
    monkeypatch.setattr(restores_api, "OPEN_MAX", 1)
    assert ask(node).status == 403


def test_a_dry_run_grants_nothing(node: InProcessNode) -> None:
    told = ask(node, dry_run=True, host="nobody-there").json
    assert told["plan"]["files"] == 2 and told["plan"]["target"] == "/srv/back" and "id" not in told
    assert call(node, OLGA, "GET", "/v1/restores").json["restores"] == []
    assert ask(node, VERA, dry_run=True).status == 403
