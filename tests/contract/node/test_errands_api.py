"""What hosts are asked to do for a recovery: who may ask for it, who hears of it, what the audit keeps."""

from __future__ import annotations

from typing import Any

import pytest

from engine.node.callers.caller import NOBODY, Caller
from engine.wire.batch import decode
from tests.contract.node.test_restores_api import (
    ADDRESS,
    LOCAL,
    NORA,
    OLGA,
    VERA,
    A,
    B,
    ask,
    call,
    content,
    hello,
    opened,
    plan_of,
    rights,
)
from tests.contract.node.test_restores_api import node as node  # the fixture
from tests.nodes import InProcessNode, acts

RITA = Caller("user", "rita", "10.0.0.8:1", token="t-rita")
TREE = "/var/lib/bcs/scratch/0badcafe/tree"


@pytest.fixture
def recoverer(node: InProcessNode) -> InProcessNode:
    """Rita may recover."""
    latest = call(node, LOCAL, "GET", "/v1/policies/latest").json
    body = {
        "base": latest["number"],
        "documents": {**latest["documents"], **rights("rita", "recoverer", "g")},
        "sources": latest["sources"],
        "by": "a test",
    }
    assert call(node, LOCAL, "POST", "/v1/policies", body).status == 201
    return node


def granted(node: InProcessNode, id: str) -> dict[str, Any]:
    [found] = [each for each in call(node, B, "GET", "/v1/agents/b/desired").json["restores"] if each["id"] == id]
    return dict(found)


def of(node: InProcessNode, id: str) -> list[dict[str, Any]]:
    return [act for act in acts(node.home) if act["details"].get("restore") == id]


def test_who_may_have_replaced_what_stands_on_a_host(recoverer: InProcessNode) -> None:
    node = recoverer
    for option in ("overwrite", "aside", "into_protected"):
        assert ask(node, OLGA, **{option: True}).status == 403, option
        id = opened(node, RITA, **{option: True})
        told = granted(node, id)
        assert told["how"][option] and told["how"]["dir"] == "/srv/back" and told["way"] == "restore"
        assert "dir" not in told, "an agent of before has to find no directory"
        assert of(node, id)[0]["details"][option] is True
        assert call(node, RITA, "POST", f"/v1/restores/{id}/cancel", {}).status == 200
    assert ask(node, OLGA, host="", overwrite=True).status == 201, "on his own machine he may"


def test_a_look_is_given_names_alone_and_is_recorded_nowhere(node: InProcessNode) -> None:
    id = opened(node, way="look", overwrite=True)
    told = granted(node, id)
    assert (told["way"], told["how"]["overwrite"]) == ("look", True) and "dir" not in told
    plan = plan_of(node, id).json
    count = sum(number for _, number in plan["steps"])
    got = [
        call(node, B, "GET", f"/v1/restores/{id}/batches/{each}?host=b&plan={plan['fingerprint']}")
        for each in range(count)
    ]
    assert content([decode(answer.text) for answer in got]) == b""
    assert plan["listings"] == 1
    listing = call(node, B, "GET", f"/v1/restores/{id}/listings/0?host=b&plan={plan['fingerprint']}")
    assert set(decode(listing.text).tables["dentry"]["name"]) == {b"mine", b"others"}
    for caller, status in ((NOBODY, 401), (A, 403), (OLGA, 403)):
        assert call(node, caller, "GET", f"/v1/restores/{id}/listings/0?host=b&plan=x").status == status
    assert call(node, OLGA, "GET", "/v1/restores").json["restores"] == []
    call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"outcome": {"standing": {}}})
    assert of(node, id) == []


def test_owners_are_sent_as_numbers_of_then(node: InProcessNode) -> None:
    id = opened(node, owners="user 5 = backup\ngroup * = nogroup")
    assert plan_of(node, id).json["owners"] == [[1, "user", "5", "backup"], [2, "group", "*", "nogroup"]]
    assert of(node, id)[0]["details"]["owners"] == "map"
    assert plan_of(node, opened(node, owners="none")).json["owners"] == "none"
    for table, why in (("user so = 5", "no user 'so' is known where it was protected"), ("what", "line 1")):
        refused = ask(node, owners=table)
        assert refused.status == 400 and why in refused.error["message"]


def test_what_failed_half_way_is_recorded_with_what_was_done(node: InProcessNode) -> None:
    id = opened(node)
    end = {"error": {"code": "failed", "message": "no room"}, "done": {"files": 7, "bytes": 70, "failures_count": 2}}
    assert call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", end).json["state"] == "failed"
    details = of(node, id)[-1]["details"]
    assert (details["state"], details["files"], details["failures"]) == ("failed", 7, 2)
    assert details["verified"] is False and details["error"] == "no room"


def in_scratch(node: InProcessNode, host: str = "b") -> str:
    """A restore to scratch that is done, and its host's word of it; the restore's id."""
    id = opened(node, LOCAL, host="b", way="scratch")
    outcome = {"files": 2, "bytes": 9, "verified": True, "scratch": {"id": "0badcafe", "tree": TREE}}
    assert call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"outcome": outcome}).json["state"] == "done"
    row = {"id": "0badcafe", "state": "restored", "tree": TREE, "restore": id, "files": 2, "bytes": 9, "checks": []}
    hello(node, host)
    caller = {"a": A, "b": B}[host]
    report = {"sources": [], "generation": 0, "scratches": [row]}
    assert call(node, caller, "POST", f"/v1/agents/{host}/status", report).status == 200
    return id


def test_who_sees_and_may_do_what_with_scratch(recoverer: InProcessNode) -> None:
    node = recoverer
    id = in_scratch(node)
    assert of(node, id)[-1]["details"]["scratch"] == "0badcafe" and of(node, id)[-1]["details"]["target"] == TREE
    for caller, count in ((VERA, 1), (OLGA, 1), (NORA, 0)):
        rows = call(node, caller, "GET", "/v1/scratches").json["scratches"]
        assert len(rows) == count and all(row["host"] == "b" and row["address"] == ADDRESS for row in rows)
    table = {"check": (403, 201, 201), "promote": (403, 403, 201), "discard": (403, 201, 201)}
    for way, (vera, olga, rita) in table.items():
        for caller, status in ((NOBODY, 401), (B, 403), (NORA, 403), (VERA, vera), (OLGA, olga), (RITA, rita)):
            answer = call(node, caller, "POST", f"/v1/scratches/0bad/{way}", {"to": "/srv/x", "aside": True})
            expected = (status, 404) if caller is NORA else (status,)  # what it is is not for her to know
            assert answer.status in expected, (way, caller, answer.text)
            if answer.status == 201:
                told = granted(node, answer.json["id"])
                assert told["way"] == way and told["how"]["scratch"] == "0badcafe" and told["how"]["to"] == "/srv/x"
                refused = plan_of(node, answer.json["id"])
                assert refused.status == 403 and "nothing is sent" in refused.error["message"]
                call(node, LOCAL, "POST", f"/v1/restores/{answer.json['id']}/cancel", {})
    assert call(node, RITA, "POST", "/v1/scratches/0bad/run", {}).status == 400
    assert call(node, RITA, "POST", "/v1/scratches/beef/check", {}).status == 404


def test_what_becomes_of_scratch_is_in_the_audit(recoverer: InProcessNode) -> None:
    node = recoverer
    in_scratch(node)
    told = call(node, RITA, "POST", "/v1/scratches/0badcafe/promote", {"to": "/srv/x", "into_protected": True}).json
    moves = [{"from": TREE, "to": "/srv/x", "aside": None, "copied": False}]
    scratch = {"id": "0badcafe", "tree": TREE, "checks": [{"command": "(bytes and attributes)", "code": 0}]}
    outcome = {"scratch": scratch, "files": 2, "bytes": 9, "verified": True, "moves": moves}
    call(node, B, "POST", f"/v1/restores/{told['id']}/progress?host=b", {"outcome": outcome})
    begun, end = of(node, told["id"])
    assert [(act["what"], act["who"]) for act in (begun, end)] == [
        ("promoting", "rita (token t-rita)"), ("promote", "rita (token t-rita)")
    ]  # fmt: skip
    assert begun["details"]["into_protected"] and begun["details"]["to"] == "/srv/x" and begun["details"]["host"] == "b"
    details = end["details"]
    assert (details["target"], details["verified"], details["moves"]) == ("/srv/x", True, moves)
    assert details["checks"][0]["command"] == "(bytes and attributes)"
    id = call(node, RITA, "POST", "/v1/scratches/0badcafe/check", {}).json["id"]
    outcome = {"scratch": scratch, "checked": {"passed": False, "checks": [{"command": "x", "code": 1}]}}
    call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"outcome": outcome})
    [checked] = of(node, id)
    assert checked["what"] == "scratch-check" and checked["details"]["passed"] is False


def test_a_host_can_claim_only_what_it_was_granted(recoverer: InProcessNode) -> None:
    node = recoverer
    in_scratch(node, "a")  # host a says that it has what b was sent
    assert call(node, VERA, "GET", "/v1/scratches").json["scratches"] == []
    assert call(node, RITA, "POST", "/v1/scratches/0badcafe/promote", {}).status == 404
    report = {"sources": [], "generation": 0, "scratches": [{"id": "x", "state": "s", "tree": "/", "restore": "zz"}]}
    assert call(node, B, "POST", "/v1/agents/b/status", report).status == 200
    assert call(node, VERA, "GET", "/v1/scratches").json["scratches"] == []
    for wrong in ([1], [{"id": 1}], [{"id": "x", "state": "s", "restore": "r"}]):
        assert call(node, B, "POST", "/v1/agents/b/status", {**report, "scratches": wrong}).status == 400
