"""The node's part in drills: what it takes up, which one it begins, and when it waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from engine.model.times import DAY, HOUR, SECOND
from engine.node.drills import RESTORING_MOST, Drills
from engine.plan.drills import GroupPolicy
from engine.query.session import Session
from tests.nodes import InProcessNode, source
from tests.unit.engine.node.conftest import TurnedClock

ADDRESS = "g/h1/files"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The groups of which a drill was begun, by a node that starts no process."""
    groups: list[str] = []
    monkeypatch.setattr(Drills, "_start", lambda self, policy, drill: groups.append(policy.group))
    return groups


def apply(node: InProcessNode, **more: Any) -> GroupPolicy:
    spec = {"drills": [{"every": "1d"}], **more}
    applied = {"sources": {ADDRESS: source(ADDRESS, "/srv")}, "documents": {"ProtectionGroup/g": {"spec": spec}}}
    answer = node.call("POST", "/v1/policies", {"base": node.parts.desired.number, "by": "ann", **applied})
    assert answer.status == 201, answer.text
    assert node.parts.drills is not None
    return node.parts.drills._policies["g"]


def work(node: InProcessNode, *, ready: bool = True, held_up: bool = False) -> str:
    assert node.parts.drills is not None
    since = node.parts.clock.now()
    return node.parts.drills.work(lambda group: since, lambda group: ready, lambda: held_up)


def evidence(policy: GroupPolicy, **changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "group": "g",
        "drill": 0,
        "policy": {"digest": policy.digest},
        "passed": True,
        "seconds": 1.0,
    } | changes


def told(node: InProcessNode) -> dict[str, Any]:
    assert node.parts.drills is not None
    return node.parts.drills.as_json("g")


def test_what_is_due_begins_once_and_is_known_again_after_a_restart(
    node: InProcessNode, clock: TurnedClock, begun: list[str]
) -> None:
    policy = apply(node)
    assert told(node)["state"] == "never"
    assert (work(node, ready=False), work(node, held_up=True), work(node)) == ("", "", "g")
    node.parts.audit.act("drill", "node", evidence(policy))
    assert (told(node)["state"], work(node)) == ("passed", "")
    again = Drills(node.home, node.parts.journal, node.home / "journal", b"", clock)
    again.begin()
    assert (again.as_json("g")["state"], again.as_json("g")["last"]["by"]) == ("passed", "node")
    clock.at += DAY
    assert (told(node)["state"], work(node)) == ("passed", "g")
    clock.at += DAY
    assert told(node)["state"] == "stale"
    assert begun == ["g", "g"]


def test_other_policies_of_the_group_void_it(node: InProcessNode, begun: list[str]) -> None:
    node.parts.audit.act("drill", "node", evidence(apply(node)))
    apply(node)
    assert told(node)["state"] == "passed"
    apply(node, objectives={"rpo": "1s"})
    assert (told(node)["state"], work(node)) == ("void", "g")


def test_a_restore_goes_first_but_not_for_ever(node: InProcessNode, clock: TurnedClock, begun: list[str]) -> None:
    apply(node)
    what = {"address": ADDRESS, "target": "/back"}
    node.parts.audit.act("restoring", "ann", what)
    node.parts.audit.act("restoring", "ann", {**what, "target": "/elsewhere"})
    assert work(node) == ""
    node.parts.audit.act("restore", "ann", what)
    assert work(node) == ""
    node.parts.audit.act("restore", "ann", {**what, "target": "/elsewhere"})
    assert work(node) == "g"
    node.parts.audit.act("restoring", "ann", what)
    assert work(node) == ""
    clock.at += RESTORING_MOST
    assert work(node) == "g"


def test_one_that_nothing_begins_is_overdue(node: InProcessNode, clock: TurnedClock) -> None:
    apply(node)
    assert not told(node)["overdue"]
    clock.at += DAY + 3 * HOUR
    assert told(node)["overdue"]


def test_what_dead_drills_left_is_removed_by_a_node_that_starts(node: InProcessNode, begun: list[str]) -> None:
    left = node.home / "drills" / "drill-dead"
    left.mkdir(parents=True)
    assert work(node) == "" and not left.exists()


def test_a_process_that_makes_nothing_is_not_started_again_at_once(
    node: InProcessNode, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    apply(node)
    drills = node.parts.drills
    assert drills is not None
    monkeypatch.setattr(drills, "_master_key", b"no key of this journal" + bytes(10))
    assert work(node) == "g"
    assert told(node)["running"] and drills._process is not None
    drills._process.wait(120)
    assert work(node) == "" and not told(node)["running"]
    clock.at += 61 * SECOND
    assert work(node) == "g"
    drills.stop()


def test_an_audit_that_cannot_be_read_keeps_no_node_from_starting(
    node: InProcessNode, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.parts.audit.act("drill", "node", evidence(apply(node)))

    def damaged(self: Session, query: str, values: Any = None) -> Any:
        raise duckdb.InvalidInputException("no Parquet")

    monkeypatch.setattr(Session, "rows", damaged)
    again = Drills(node.home, node.parts.journal, node.home / "journal", b"", clock)
    again.begin()
    assert again.as_json("g")["state"] == "never"
