"""Applies carried out for real: a node, an agent deployed by Ansible, policies recorded, sources protected."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.deploy.outcome import HostOutcome, Progress
from engine.env import processes
from engine.model.errors import Refused
from engine.plan.reconcile import Plan, check_guards
from engine.reconcile import embedded, units
from engine.reconcile.apply import ApplyResult, SourceProgress, Step, apply
from engine.reconcile.observe import observe
from engine.reconcile.planning import make_plan
from engine.reconcile.provenance import Provenance

ORIGIN = Provenance("ann@example", "c0ffee", True)
WAIT_SECONDS = 60.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(units.SERVICE_VARIABLE, "detached")
    home = tmp_path / "home"
    yield home
    if home.exists():
        embedded.down(home)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.txt").write_text("one\n")
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder, "docs", data)
    return folder


def write(folder: Path, group: str, data: Path, more: str = "") -> None:
    (folder / f"{group}.yaml").write_text(
        "apiVersion: bcs/v1alpha1\nkind: ProtectionGroup\n"
        f"metadata: {{name: {group}}}\nspec:\n  sources:\n    - files: {{paths: ['{data}']}}\n{more}"
    )


def run(home: Path, policies: Path, wait: bool = True) -> tuple[Plan, ApplyResult, list[object]]:
    seen: list[object] = []
    plan = make_plan(home, [policies])
    done = apply(home, plan, ORIGIN, wait=wait, wait_seconds=WAIT_SECONDS, on_progress=seen.append)
    return plan, done, seen


def test_from_nothing_to_protected_and_then_nothing_to_do(home: Path, policies: Path) -> None:
    plan, done, seen = run(home, policies)
    assert done.ok and done.converged, done
    assert done.number == 1
    assert [(row.kind, row.name, row.state) for row in done.results] == [
        ("Node", "local", "changed"),
        ("Agent", "localhost", "changed"),
        ("Source", "docs/localhost/files", "protected"),
    ]
    assert {type(event) for event in seen} == {Step, Progress, SourceProgress}
    found = observe(home)
    assert found.number == 1 and set(found.documents) == {"ProtectionGroup/docs"}
    assert set(found.sources) == {"docs/localhost/files"}

    plan, done, seen = run(home, policies)
    assert plan.noop and done.converged and done.number == 1
    assert not [event for event in seen if isinstance(event, Step | Progress)]

    (policies.parent / "none").mkdir()
    with pytest.raises(Refused, match="no policy document"):  # not "no changes": the path is a wrong one
        check_guards(make_plan(home, [policies.parent / "none"], partial=True))


def test_the_dead_are_started_again_though_no_document_changed(home: Path, policies: Path) -> None:
    run(home, policies)
    agent, node = embedded.agent_pid(home), embedded.node_pid(home)
    assert agent is not None and node is not None
    os.kill(agent, 9)
    plan, done, _ = run(home, policies)
    assert [(action.action, action.kind) for action in plan.actions] == [("start", "Agent")]
    assert done.converged and done.number == 1
    assert embedded.node_pid(home) == node and embedded.agent_pid(home) not in (None, agent)

    embedded.down(home)
    plan, done, _ = run(home, policies)
    assert {(action.action, action.kind) for action in plan.actions} == {("start", "Agent"), ("start", "Node")}
    assert done.converged


def test_nothing_of_ours_lives_after_down(home: Path, policies: Path) -> None:
    run(home, policies)
    pids = [embedded.agent_pid(home), embedded.node_pid(home)]
    stopped = embedded.down(home)
    assert [one.role for one in stopped] == ["agent", "node"] and [one.pid for one in stopped] == pids
    assert not any(processes.is_alive(pid) for pid in pids if pid)


def test_an_apply_from_an_older_base_is_refused(home: Path, policies: Path, tmp_path: Path) -> None:
    run(home, policies)
    (tmp_path / "more").mkdir()
    write(policies, "more", tmp_path / "more")
    late = make_plan(home, [policies])
    run(home, policies)
    with pytest.raises(Refused, match="number 2"):
        apply(home, late, ORIGIN)
    assert observe(home).number == 2


def test_a_host_that_fails_is_a_row(home: Path, policies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = HostOutcome("failed", "Unpack the bundle: no space left", "free some space")
    monkeypatch.setattr("engine.reconcile.deployment.deploy_agent", lambda *_, **__: failed)
    _, done, _ = run(home, policies)
    row = next(row for row in done.results if row.kind == "Agent")
    assert (row.ok, row.message, row.hint) == (False, failed.message, failed.hint)
    assert not done.ok and not done.converged
    assert observe(home).number == 1
