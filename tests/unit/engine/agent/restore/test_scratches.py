"""Scratch on a host, process by process: told again, gone on with, swept away; promoted only where nobody leads it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.agent.restore.restoring import Job, receive
from engine.agent.restore.scratches import Check, Discard, Promote, ToScratch, every, forget_unwanted
from engine.model.errors import Failed, NothingThere, Refused
from engine.tree.scratch import place
from tests.unit.engine.agent.restore.test_onto_target import WANTED, Node
from tests.unit.engine.agent.restore.test_onto_target import sending as sending  # the fixture


@pytest.fixture
def job(tmp_path: Path) -> Job:
    how = {"address": "g/a/files", "path": None, "by": "rita", "point": "1.2", "at": "then", "class": "quiet"}
    folder = tmp_path / "agent" / "restores"
    folder.mkdir(parents=True)
    return Job(b"/", True, state=folder / "a1.json", name="a1", home=tmp_path, how=how)


def run(node: Any, job: Job, kind: Any = ToScratch) -> dict[str, Any]:
    return receive(node, job, threading.Event(), run=kind)


def on(job: Job, id: str, **how: Any) -> Job:
    assert job.state is not None
    return replace(job, how={"scratch": id, **how}, name="b2", state=job.state.with_name("b2.json"))


def test_it_is_made_once_and_told_again(sending: Any, job: Job, tmp_path: Path) -> None:
    told = run(Node(sending), job)
    tree = Path(told["scratch"]["tree"])
    assert told["verified"] and (tree / "srv" / "sub" / "kept").read_bytes() == WANTED["sub/kept"]
    node = Node(sending)
    again = run(node, job)
    assert again["scratch"] == told["scratch"] and again["verified"] and node.asked == []
    [row] = every(tmp_path)
    assert row["restore"] == "a1" and row["sources"] == [
        {"address": "g/a/files", "point": "1.2", "at": "then", "class": "quiet"}
    ]
    forget_unwanted(tmp_path, set())
    assert every(tmp_path) == [row], "what is whole stays until somebody discards it"


def test_what_failed_leaves_nothing_and_what_was_left_is_swept(sending: Any, job: Job, tmp_path: Path) -> None:
    class Failing(Node):
        def batch(self, number: int, fingerprint: str, *, data: bool = True) -> Any:
            if number == 3:
                raise self.error
            return super().batch(number, fingerprint, data=data)

        error: BaseException = Failed("no")

    with pytest.raises(Failed):
        run(Failing(sending), job)
    assert place.every(tmp_path) == [] and job.state is not None
    job.state.unlink()

    class Killed(BaseException):
        pass

    node = Failing(sending)
    node.error = Killed()
    with pytest.raises(Killed):
        run(node, job)
    [left] = place.every(tmp_path)
    forget_unwanted(tmp_path, {"a1"})
    assert place.every(tmp_path) == [left]
    told = run(Node(sending), job)
    assert told["scratch"]["id"] == left.id and told["verified"]
    job.state.unlink()
    with pytest.raises(Killed):
        run(node, replace(job, name="c3"))
    forget_unwanted(tmp_path, {"a1"})
    assert [one.id for one in place.every(tmp_path)] == [left.id]


def test_it_is_compared_and_promoted_once(sending: Any, job: Job, tmp_path: Path) -> None:
    id = run(Node(sending), job)["scratch"]["id"]
    checked = run(Node(sending), on(job, id), Check)
    assert checked["checked"]["passed"] and checked["scratch"]["state"] == "checked"
    target = tmp_path / "there"
    what = replace(on(job, id, to=str(target)), guarded=False)
    moved = run(Node(sending), what, Promote)
    assert moved["moves"][0]["to"] == str(target) and (target / "srv" / "other").read_bytes() == b"new"
    again = run(Node(sending), what, Promote)
    assert again["moves"][0]["to"] == str(target), "killed before the node heard of it, it says what it did"
    with pytest.raises(NothingThere):
        run(Node(sending), on(job, id), Discard)


@pytest.mark.skipif(os.geteuid() != 0, reason="somebody else's directory is made by root")
def test_nobody_leads_a_promotion_elsewhere(sending: Any, job: Job, tmp_path: Path) -> None:
    id = run(Node(sending), job)["scratch"]["id"]
    theirs = tmp_path / "theirs" / "deep"
    theirs.mkdir(parents=True)
    os.chown(tmp_path / "theirs", 4711, 4711)
    (tmp_path / "link").symlink_to(theirs)
    for to, why in ((theirs / "x", "may rename"), (tmp_path / "link" / "x", "by a link")):
        with pytest.raises(Refused, match=why):
            run(Node(sending), replace(on(job, id, to=str(to)), guarded=False), Promote)
    live = tmp_path / "live"
    live.mkdir()
    for target, protected in ((live / "x", [os.fsencode(live)]), (tmp_path / "y", [os.fsencode(tmp_path / "y")])):
        guarded = replace(on(job, id, to=str(target)), guarded=False, protected=protected)
        with pytest.raises(Refused, match="is protected itself"):
            run(Node(sending), guarded, Promote)
        assert json.dumps(every(tmp_path)[0]["state"]) == '"restored"'
    into = on(job, id, to=str(live / "x"), into_protected=True)
    assert run(Node(sending), replace(into, guarded=False, protected=[os.fsencode(live)]), Promote)["verified"]
