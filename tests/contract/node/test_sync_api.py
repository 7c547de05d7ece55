"""The GitOps loop tells a node how its rounds went."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes import InProcessNode, in_process_node

COMMIT = "4f0c" * 10


def tell(node: InProcessNode, state: str, **other: object) -> dict[str, object]:
    answer = node.call("POST", "/v1/sync", {"state": state, "commit": COMMIT, **other})
    assert answer.status == 201, answer.text
    return answer.json


def test_rounds_are_counted_and_the_last_one_is_kept(tmp_path: Path) -> None:
    with in_process_node(tmp_path) as node:
        assert node.call("GET", "/v1/sync").json == {"sync": None}
        tell(node, "applied")
        tell(node, "healed")
        last = tell(node, "failed", message="no route to git", failing_since="2026-11-22T10:00:00.000000Z")
        assert node.call("GET", "/v1/sync").json == {"sync": last}
    assert (last["rounds"], last["drift"], last["failures"], last["state"]) == (3, 1, 1, "failed")
    assert (last["failing_since"], last["message"]) == ("2026-11-22T10:00:00.000000Z", "no route to git")


def test_what_changed_something_is_an_act_and_a_failure_is_one_act_however_long_it_lasts(tmp_path: Path) -> None:
    with in_process_node(tmp_path) as node:
        acts: list[str] = []
        record = node.parts.audit.act

        def noted(what: str, who: str, details: dict[str, str], at: int | None = None) -> object:
            acts.append(f"{what} {details['state']}")
            return record(what, who, details, at)

        node.parts.audit.act = noted  # type: ignore[method-assign, assignment]
        for state in ("synced", "applied", "synced", "failed", "failed", "synced", "failed"):
            tell(node, state, message="no route" if state == "failed" else "")
    assert acts == ["sync applied", "sync failed", "sync failed"]


@pytest.mark.parametrize(
    "body", [{}, {"state": "great"}, {"state": "failed", "message": 5}, {"state": "failed", "failing_since": "soon"}]
)
def test_nonsense_is_refused_and_changes_nothing(tmp_path: Path, body: dict[str, object]) -> None:
    with in_process_node(tmp_path) as node:
        assert node.call("POST", "/v1/sync", body).status == 400
        assert node.call("GET", "/v1/sync").json == {"sync": None}
