"""Who is given what of a tree that is filled on demand: its host, what was granted, until it is over or cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env.clock import Clock
from engine.model.times import MINUTE
from engine.node.api.forsaken import GONE_AFTER
from engine.node.callers.caller import NOBODY, Caller
from engine.wire.batch import decode
from engine.wire.frames import open_frame
from tests.contract.node.test_restores_api import (
    ADDRESS,
    LOCAL,
    MINE,
    NORA,
    OLGA,
    OTHERS,
    VERA,
    A,
    B,
    ask,
    call,
    fill,
    hello,
    opened,
    plan_of,
)
from tests.contract.node.test_restores_api import node as node
from tests.nodes import InProcessNode, Writer, acts, in_process_node

ON_DEMAND = {"mechanism": "", "rate_bytes": 1000}
TOLD = {"state": "filling", "files": 2, "bytes_filled": 10, "bytes_total": 20, "mechanism": "fuse"}


def begun(node: InProcessNode, **other: Any) -> str:
    return opened(node, on_demand=ON_DEMAND, **other)


def get(node: InProcessNode, id: str, what: str, caller: Caller = B, host: str = "b") -> Any:
    join = "&" if "?" in what else "?"
    return call(node, caller, "GET", f"/v1/restores/{id}/{what}{join}host={host}")


def ids(node: InProcessNode, id: str) -> list[int]:
    """The file_ids of the files that a plan has."""
    plan = plan_of(node, id).json
    steps = [step for step, count in plan["steps"] for _ in range(count)]
    found: set[int] = set()
    for number, step in enumerate(steps):
        if step == "files":
            batch = decode(get(node, id, f"batches/{number}?plan={plan['fingerprint']}").text)
            assert not batch.frames, "no bytes come with the names"
            found |= set(batch.tables["inode"]["file_id"])
    return sorted(found)


def read(node: InProcessNode, id: str, file: int, offset: int, length: int) -> bytes:
    answer = get(node, id, f"data?file={file}&offset={offset}&length={length}")
    assert answer.status == 200, answer.text
    return b"".join(bytes(open_frame(frame)) for frame in decode(answer.text).frames)


def test_ranges_of_its_files_are_given_and_no_byte_more(node: InProcessNode) -> None:
    id = begun(node)
    mine, others = ids(node, id)
    assert read(node, id, mine, 0, len(MINE)) == MINE
    assert read(node, id, mine, 5, 10) == MINE[5:15]
    assert read(node, id, others, 100, 1 << 20) == OTHERS[100:]
    part = begun(node, path="/srv/one")
    assert ids(node, part) == [mine]
    for file in (others, 999):
        assert get(node, part, f"data?file={file}&offset=0&length=5").status == 404
    assert get(node, id, "holes").json["holes"] == {} == get(node, id, "ranges").json["ranges"]
    assert set(get(node, id, "heat").json["heat"]) <= {str(mine), str(others)}


@pytest.mark.parametrize("what", ["data?file=1&offset=0&length=1", "heat", "holes", "ranges", "names/0", "go-on"])
def test_nobody_else_gets_anything(node: InProcessNode, what: str) -> None:
    id, plain = begun(node), opened(node)
    method = "POST" if what == "go-on" else "GET"
    join = "&" if "?" in what else "?"
    for caller, host, status in (
        (NOBODY, "b", 401), (A, "a", 403), (A, "b", 403), (OLGA, "b", 403), (VERA, "b", 403), (NORA, "b", 403),
        (LOCAL, "a", 403),
    ):  # fmt: skip
        answer = call(
            node, caller, method, f"/v1/restores/{id}/{what}{join}host={host}", {} if what == "go-on" else None
        )
        assert answer.status == status, (caller, host, answer.text)
    assert call(node, B, method, f"/v1/restores/{plain}/{what}{join}host=b").status == 403, "it is no such restore"


def test_names_and_history_are_for_its_sources_own_place(node: InProcessNode) -> None:
    id = begun(node)
    assert get(node, id, "names/0").status == 403
    assert call(node, B, "POST", f"/v1/restores/{id}/go-on?host=b", {}).status == 403
    desired = call(node, B, "GET", "/v1/agents/b/desired").json["restores"]
    assert [each["on_demand"]["own"] for each in desired] == [False]


def test_cancelling_ends_what_is_given_at_once(node: InProcessNode) -> None:
    id = begun(node)
    [mine, _] = ids(node, id)
    tell = f"/v1/restores/{id}/progress?host=b"
    assert call(node, B, "POST", tell, {"recovery": TOLD}).json == {"state": "open", "wanted": {}}
    for caller, status in ((NOBODY, 401), (VERA, 403), (NORA, 403), (B, 403)):
        assert call(node, caller, "POST", f"/v1/restores/{id}/wanted", {"paused": True}).status == status
    for body in ({}, {"paused": 1}, {"rate_bytes": -1}):
        assert call(node, OLGA, "POST", f"/v1/restores/{id}/wanted", body).status == 400
    assert call(node, OLGA, "POST", f"/v1/restores/{id}/wanted", {"paused": True, "do": "pause"}).status == 200
    assert call(node, B, "POST", tell, {"recovery": TOLD}).json["wanted"] == {"paused": True}
    assert call(node, OLGA, "POST", f"/v1/restores/{id}/wanted", {"cancel": True, "do": "cancel"}).status == 200
    assert get(node, id, f"data?file={mine}&offset=0&length=5").status == 403
    told = call(node, B, "POST", tell, {"recovery": TOLD}).json
    assert told["state"] == "open" and told["wanted"]["cancel"]
    end = {"error": {"code": "cancelled", "message": "the tree was removed", "hint": "", "details": {}}}
    assert call(node, B, "POST", tell, end).json["state"] == "cancelled"
    whats = [(act["what"], act["details"].get("do")) for act in acts(node.home) if id in act["details"].values()]
    assert whats == [("restoring", None), ("recover", "pause"), ("recover", "cancel"), ("restore", None)]


def test_what_a_host_says_is_read_strictly(node: InProcessNode) -> None:
    id = begun(node)
    for told in ({}, {"state": ""}, {"state": "a\nb"}, {**TOLD, "files": -1}, {**TOLD, "damaged": ["x"] * 101}):
        assert call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"recovery": told}).status == 400, told
    assert call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"recovery": TOLD}).status == 200
    [row] = call(node, VERA, "GET", "/v1/restores").json["restores"]
    assert row["recovery"]["bytes_filled"] == 10 and row["on_demand"]["rate_bytes"] == 1000
    for other in ({"on_demand": {"mechanism": "magic"}}, {"on_demand": 5}, {"on_demand": ON_DEMAND, "host": ""}):
        assert ask(node, **other).status == 400, other


def test_what_was_asked_of_it_outlives_the_node(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        hello(node, "b")
        id = opened(node, LOCAL, on_demand=ON_DEMAND)
        call(node, LOCAL, "POST", f"/v1/restores/{id}/wanted", {"paused": True})
        call(node, LOCAL, "POST", f"/v1/restores/{id}/wanted", {"rate_bytes": 7})
    with in_process_node(home) as node:
        told = call(node, B, "POST", f"/v1/restores/{id}/progress?host=b", {"recovery": TOLD}).json
        assert told["wanted"] == {"paused": True, "rate_bytes": 7}
        assert read(node, id, ids(node, id)[0], 0, 4) == MINE[:4]


def test_the_own_place_takes_the_role_that_in_place_takes(own: InProcessNode) -> None:
    refused = call(own, OLGA, "POST", "/v1/restores", body_of())
    assert refused.status == 403 and "recoverer" in refused.error["message"]
    granted = call(own, LOCAL, "POST", "/v1/restores", body_of())
    assert granted.status == 201, granted.text
    id = granted.json["id"]
    assert get(own, id, "names/0", A, "a").status == 200 and get(own, id, "names/1", A, "a").status == 404
    for _ in range(2):  # whoever asks twice is told the same
        gone_on = call(own, A, "POST", f"/v1/restores/{id}/go-on?host=a", {})
        assert gone_on.status == 201 and gone_on.json["epoch"] == 2


@pytest.fixture
def own(node: InProcessNode) -> Iterator[InProcessNode]:
    hello(node, "a")
    yield node


def body_of() -> dict[str, Any]:
    return {"address": ADDRESS, "at": "latest", "host": "a", "dir": "/srv", "on_demand": ON_DEMAND}


class Later(Clock):
    """The machine's clock, turned ahead."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


def test_an_order_of_a_host_that_is_gone_is_closed_by_a_recorded_word(tmp_path: Path) -> None:
    home, clock = tmp_path / "home", Later()
    home.mkdir()
    with in_process_node(home, clock) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        hello(node, "b")
        id = opened(node, LOCAL, on_demand=ON_DEMAND)
        path, tell = f"/v1/restores/{id}/forsake", f"/v1/restores/{id}/progress?host=b"
        assert call(node, B, "POST", tell, {"recovery": TOLD}).status == 200
        clock.ahead += GONE_AFTER - MINUTE
        refused = call(node, LOCAL, "POST", path, {"who": "root@ops"})
        assert refused.status == 403 and "silent for 9 m" in refused.error["message"], refused.text
        clock.ahead += 2 * MINUTE
        for caller, status in ((NOBODY, 401), (VERA, 403), (B, 403)):
            assert call(node, caller, "POST", path, {}).status == status
        closed = call(node, LOCAL, "POST", path, {"who": "root@ops"})
        assert closed.status == 200 and closed.json["state"] == "cancelled", closed.text
        assert "nothing is known of" in closed.json["error"]["message"]
        assert call(node, LOCAL, "POST", path, {}).status == 403, "it is closed once"
        assert not [each for each in node.parts.restores.for_host("b") if each["id"] == id]
        told = [act for act in acts(home) if id in act["details"].values()]
        assert [(act["what"], act["details"].get("do")) for act in told[1:]] == [
            ("recover", "forsake"),
            ("restore", None),
        ]
        assert told[1]["who"] == "root@ops" and "not been heard of since" in told[1]["details"]["reason"]
        assert told[2]["details"]["state"] == "cancelled" and told[2]["details"]["code"] == "host-gone"
        assert call(node, B, "POST", tell, {"recovery": TOLD}).json["state"] == "cancelled", (
            "it comes back all the same"
        )
    with in_process_node(home, clock) as node:
        assert id not in node.parts.restores.known


def test_a_node_that_has_just_started_takes_no_host_for_gone(tmp_path: Path) -> None:
    home, clock = tmp_path / "home", Later()
    home.mkdir()
    with in_process_node(home, clock) as node:
        Writer(node, ADDRESS, "a").protect()
        fill(node)
        hello(node, "b")
        id = opened(node, LOCAL, on_demand=ON_DEMAND)
        call(node, LOCAL, "POST", f"/v1/restores/{id}/wanted", {"cancel": True})
    clock.ahead += 2 * GONE_AFTER
    with in_process_node(home, clock) as node:
        assert call(node, LOCAL, "POST", f"/v1/restores/{id}/forsake", {}).status == 403
        clock.ahead += 2 * GONE_AFTER
        closed = call(node, LOCAL, "POST", f"/v1/restores/{id}/forsake", {})
        assert closed.status == 200 and "since this node started" in closed.json["error"]["message"], closed.text
