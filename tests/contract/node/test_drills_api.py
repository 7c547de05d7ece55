"""Who is given what of a drill on a host, until when: that host's agent, while it is asked for, one process of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.node.callers.caller import NOBODY, Caller
from engine.node.rehearsals import FORSAKEN_AFTER
from engine.plan.drills import group_in
from engine.wire.batch import decode
from tests.contract.node.test_restores_api import ADDRESS, call, fill, hello
from tests.nodes import Answer, InProcessNode, Writer, in_process_node

A = Caller("agent", "a", "10.0.0.6:1", host="a", serial="01")
B = Caller("agent", "b", "10.0.0.7:1", host="b", serial="02")
ADMIN = Caller("user", "root", "10.0.0.4:1", token="admins/root")
LOCAL = Caller("local", "root", "")
ID = "0011223344556677"
CHECK = {"name": "command", "command": "test -s mine", "timeout": 60_000_000}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[InProcessNode]:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        latest = json.loads(next((home / "journal" / "control" / "policies").glob("*.json")).read_text())
        drills = [{"every": "1d", "host": "b", "checks": [{"command": "test -s mine", "timeout": "1m"}]}]
        documents = {"ProtectionGroup/g": {"spec": {"drills": drills}}}
        body = {"base": 1, "documents": documents, "sources": latest["sources"], "by": "a test"}
        assert node.call("POST", "/v1/policies", body).status == 201
        hello(node, "b")
        yield node


def body_of(node: InProcessNode, **changes: Any) -> dict[str, Any]:
    applied = json.loads((node.home / "journal" / "control" / "policies" / "00000002.json").read_text())
    policy = group_in(applied, "g")
    assert policy is not None
    stream = applied["sources"][ADDRESS]["stream"]
    point = node.parts.facts.stored(stream, node.parts.clock.now(), delays=False).point
    assert point is not None
    part = {"address": ADDRESS, "stream": stream, "position": point, "at": 1, "class": "quiet"}
    made = {"id": ID, "group": "g", "host": "b", "digest": policy.digest, "at": "latest", "scratch": ""}
    return {**made, "parts": [part], "checks": [CHECK], **changes}


def begun(node: InProcessNode) -> str:
    """The id by which host b knows the only source of a drill that is asked for."""
    assert call(node, LOCAL, "POST", "/v1/drills", body_of(node)).status == 201
    [errand] = asked_of(node, B)
    assert errand["how"]["checks"][0]["command"] == "test -s mine"
    return str(errand["how"]["sources"][0]["id"])


def asked_of(node: InProcessNode, caller: Caller) -> list[dict[str, Any]]:
    answer = call(node, caller, "GET", f"/v1/agents/{caller.host}/desired?generation=-1")
    return [each for each in answer.json["restores"] if each.get("way") == "drill"]


def plan(node: InProcessNode, caller: Caller, source: str, host: str = "b", run: str = "1") -> Answer:
    return call(node, caller, "GET", f"/v1/drills/{ID}/sources/{source}/plan?host={host}&run={run}")


def progress(node: InProcessNode, body: dict[str, Any], run: str = "1", caller: Caller = B) -> Answer:
    return call(node, caller, "POST", f"/v1/drills/{ID}/progress?host={caller.host}&run={run}", body)


def look(node: InProcessNode) -> dict[str, Any]:
    return call(node, LOCAL, "GET", f"/v1/drills/{ID}").json


def test_only_the_node_itself_asks_for_drills_and_only_as_the_policy_says(node: InProcessNode) -> None:
    for caller, status in ((A, 403), (B, 403), (ADMIN, 403), (NOBODY, 401)):
        assert call(node, caller, "POST", "/v1/drills", body_of(node)).status == status
        assert call(node, caller, "GET", f"/v1/drills/{ID}").status == status
    for changes in (
        {"checks": [{**CHECK, "command": "rm -r /"}]},
        {"checks": [{**CHECK, "timeout": 1}]},
        {"digest": "another"},
        {"scratch": "/srv"},
        {"parts": []},
        {"parts": [{**body_of(node)["parts"][0], "address": "other/a/files"}]},
        {"host": "a"},  # its agent was never heard of
    ):
        refused = call(node, LOCAL, "POST", "/v1/drills", body_of(node, **changes))
        assert (refused.status, refused.error["code"]) == (403, "refused"), (changes, refused.text)
    assert asked_of(node, B) == []


def test_its_host_alone_receives_it(node: InProcessNode) -> None:
    source = begun(node)
    assert asked_of(node, A) == []
    for caller, host in ((A, "a"), (A, "b"), (ADMIN, "b")):
        assert plan(node, caller, source, host).status == 403
    assert progress(node, {"phase": "writing"}, caller=A).status == 403
    told = plan(node, B, source)
    assert told.status == 200 and told.json["stored_bytes"] > 0, told.text
    numbers = range(sum(count for _, count in told.json["steps"]))
    query = f"?host=b&run=1&plan={told.json['fingerprint']}&data=1"
    answers = [call(node, B, "GET", f"/v1/drills/{ID}/sources/{source}/batches/{each}{query}") for each in numbers]
    names = {name for each in answers for name in decode(each.text).tables.get("dentry", {}).get("name", ())}
    assert names >= {b"mine", b"others"}
    beyond = f"/v1/drills/{ID}/sources/{source}/batches/{len(numbers)}{query}"
    assert call(node, B, "GET", beyond).status == 400
    assert call(node, B, "GET", f"/v1/drills/{ID}/sources/{'0' * 16}/plan?host=b&run=1").status == 400


def test_what_its_agent_says_came_of_it_ends_it(node: InProcessNode) -> None:
    source = begun(node)
    assert progress(node, {"phase": "writing", "files": 1, "bytes": 10}).json == {"state": "open"}
    assert (look(node)["files"], look(node)["restored_at"]) == (1, 0)
    assert progress(node, {"restored": True}).json == {"state": "open"}
    assert look(node)["restored_at"] > 0
    outcome = {"checks": [{"name": "restore", "passed": True}], "sources": []}
    assert progress(node, {"outcome": outcome}).json == {"state": "done"}
    assert (look(node)["state"], look(node)["answer"]) == ("done", outcome)
    assert asked_of(node, B) == [] and plan(node, B, source).status == 403
    assert progress(node, {"error": {"message": "later"}}).json == {"state": "done"}


def test_ranges_are_given_of_what_is_used_while_it_is_cold_and_until_it_is_over(node: InProcessNode) -> None:
    def asked(what: str, source: str, caller: Caller = B, run: str = "1") -> Answer:
        return call(node, caller, "GET", f"/v1/drills/{ID}/sources/{source}/{what}host=b&run={run}")

    restored = begun(node)
    assert asked("holes?", restored).status == 403  # a drill that restores has no use for it
    assert call(node, LOCAL, "POST", f"/v1/drills/{ID}/cancel", {}).status == 200
    assert call(node, LOCAL, "POST", "/v1/drills", body_of(node, on_demand="later")).status == 400
    assert call(node, LOCAL, "POST", "/v1/drills", body_of(node, on_demand="cancel")).status == 201
    [errand] = asked_of(node, B)
    assert errand["how"]["on_demand"] == "cancel"
    source = errand["how"]["sources"][0]["id"]
    told = asked("plan?contents=0&", source).json
    assert told["stored_bytes"] == 0 and told["files"] > 0
    numbers = range(sum(count for _, count in told["steps"]))
    sent = [
        decode(asked(f"batches/{each}?plan={told['fingerprint']}&data=1&contents=0&", source).text) for each in numbers
    ]
    assert not any("extent" in batch.tables for batch in sent)
    [file_id] = {
        file_id
        for batch in sent
        for name, file_id in zip(
            *(batch.tables.get("dentry", {}).get(each, ()) for each in ("name", "file_id")), strict=True
        )
        if name == b"mine"
    }
    given = decode(asked(f"data?file={file_id}&offset=0&length=100&", source).text)
    assert given.tables["extent"]["file_id"][0] == file_id and given.stream == source
    for what in ("heat?", "holes?", "ranges?"):
        assert asked(what, source).status == 200, what
        assert asked(what, source, A).status == 403
    assert asked("data?file=999999&offset=0&length=100&", source).status == 404
    assert asked("data?file=1&offset=0&length=99999999&", source).status == 400
    assert (look(node)["usable_at"], progress(node, {"usable": True}).json) == (0, {"state": "open"})
    assert look(node)["usable_at"] > 0 and look(node)["restored_at"] == 0
    assert progress(node, {"outcome": {"checks": [], "sources": []}}).json == {"state": "done"}
    assert asked(f"data?file={file_id}&offset=0&length=100&", source).status == 403


def test_another_process_ends_it_and_so_does_who_asked_or_nobody(node: InProcessNode) -> None:
    source = begun(node)
    assert plan(node, B, source).status == 200
    assert progress(node, {"phase": "writing"}, run="2").json == {"state": "failed"}
    assert look(node)["answer"] == {"message": "it was cut off"}
    begun(node)
    assert call(node, LOCAL, "POST", f"/v1/drills/{ID}/cancel", {}).json["state"] == "cancelled"
    assert progress(node, {"phase": "writing"}).json == {"state": "cancelled"}
    begun(node)
    node.parts.rehearsals.find(ID).asked_at -= 2 * FORSAKEN_AFTER
    assert progress(node, {"phase": "writing"}).json == {"state": "silent"}
    assert asked_of(node, B) == []


def test_what_makes_no_sense_is_refused(node: InProcessNode) -> None:
    begun(node)
    for body in ({}, {"phase": 7}, {"phase": "a", "files": -1}, {"outcome": []}, {"error": "text"}):
        assert progress(node, body).status == 400, body
    assert look(node)["state"] == "open"
