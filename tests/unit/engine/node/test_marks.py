"""Marks that were asked for outlive a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.model.errors import UsageError
from engine.model.points import check_label
from engine.node.desired import MarkRequest
from engine.node.marks import KEPT_MAX, KeptMarks
from tests.nodes import HOST, in_process_node
from tests.nodes import apply as apply_policies
from tests.nodes import source as of_policy


def request(number: int, *, done: bool = False) -> MarkRequest:
    return MarkRequest(f"id{number}", "5eed", "g/h/s", f"label {number}", done)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    kept = KeptMarks(tmp_path / "marks.json")
    assert kept.read() == {}
    marks = {f"id{number}": request(number, done=number % 2 == 0) for number in range(KEPT_MAX + 5)}
    kept.write(marks)
    again = KeptMarks(tmp_path / "marks.json").read()
    assert list(again.items()) == list(marks.items())[5:]


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    kept = KeptMarks(path)
    kept.write({})
    assert not path.exists()
    kept.write({"id1": request(1)})
    inode = path.stat().st_ino
    kept.write({"id1": request(1)})
    assert path.stat().st_ino == inode
    kept.write({"id1": request(1, done=True)})
    assert KeptMarks(path).read()["id1"].done


@pytest.mark.parametrize("text", ["", "{", "{}", '[{"id": 1}]', "[1]"])
def test_a_file_that_is_none_counts_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "marks.json").write_text(text)
    assert KeptMarks(tmp_path / "marks.json").read() == {}


def test_a_node_that_starts_again_still_asks_for_them(tmp_path: Path) -> None:
    with in_process_node(tmp_path) as node:
        apply_policies(node, of_policy(f"g/{HOST}/s"))
        (asked,) = node.call("POST", "/v1/marks", {"group": "g", "label": "before"}).json["marks"]
    with in_process_node(tmp_path) as node:
        wanted = node.call("GET", f"/v1/agents/{HOST}/desired").json["marks"]
        assert [(mark["id"], mark["label"]) for mark in wanted] == [(asked["id"], "before")]
        done = {"version": "1", "sources": [], "marks_done": [asked["id"]], "generation": 1}
        assert node.call("POST", f"/v1/agents/{HOST}/status", done).status == 200
        assert node.call("GET", f"/v1/marks/{asked['id']}").json["done"]


def test_what_kind_of_point_a_mark_is_on(tmp_path: Path) -> None:
    with in_process_node(tmp_path) as node:
        apply_policies(node, of_policy(f"g/{HOST}/s"))
        asked = [
            node.call("POST", "/v1/marks", {"group": "g", "label": "x", "again": True, **extra}).json["marks"][0]["id"]
            for extra in ({}, {"class": "crash"}, {"class": "crash"})
        ]
        wanted = node.call("GET", f"/v1/agents/{HOST}/desired").json["marks"]
        assert [(mark["id"], mark["class"]) for mark in wanted] == [
            (asked[0], ""),
            (asked[1], "crash"),
            (asked[2], "crash"),
        ]
        told = {asked[0]: {"class": "quiet", "reason": "tmpfs"}, asked[1]: {"class": "", "reason": "no freeze"}}
        done = {"version": "1", "sources": [], "marks_done": asked, "marks_told": told, "generation": 1}
        assert node.call("POST", f"/v1/agents/{HOST}/status", done).status == 200
        answers = [node.call("GET", f"/v1/marks/{mark}").json for mark in asked]
        assert [(each["done"], each["class"], each["reason"]) for each in answers[:2]] == [
            (True, "quiet", "tmpfs"),
            (True, "", "no freeze"),
        ]
        assert "too old" in answers[2]["reason"]
        assert node.call("POST", "/v1/marks", {"group": "g", "label": "x", "class": "quiet"}).status == 400
        wrong = {**done, "marks_told": {asked[0]: "crash"}}
        assert node.call("POST", f"/v1/agents/{HOST}/status", wrong).status == 400


def test_a_label_is_taken_once_unless_told(tmp_path: Path) -> None:
    asked = {"group": "g", "label": "before-upgrade"}
    with in_process_node(tmp_path) as node:
        apply_policies(node, of_policy(f"g/{HOST}/s"), of_policy(f"other/{HOST}/s"))
        (first,) = node.call("POST", "/v1/marks", asked).json["marks"]
        refused = node.call("POST", "/v1/marks", asked)
        assert (refused.status, refused.error["code"]) == (403, "refused")
        assert "yet to set it" in refused.error["message"] and "--again" in refused.error["hint"]
        assert node.call("POST", "/v1/marks", {**asked, "group": "other"}).status == 201
        assert node.call("POST", "/v1/marks", {**asked, "again": True}).status == 201
        failed = {"class": "", "reason": "no freeze"}
        marks = [each["id"] for each in node.call("GET", f"/v1/agents/{HOST}/desired").json["marks"]]
        told = {"version": "1", "sources": [], "marks_done": marks, "marks_told": dict.fromkeys(marks, failed)}
        assert node.call("POST", f"/v1/agents/{HOST}/status", {**told, "generation": 1}).status == 200
        assert node.call("GET", f"/v1/marks/{first['id']}").json["reason"] == "no freeze"
        assert node.call("POST", "/v1/marks", asked).status == 201  # what was never set holds no name


@pytest.mark.parametrize("label", ["a b/c", "../../etc", "..", "-x", "a\tb", "tonight\u202e", "ü" * 101])
def test_a_label_that_no_path_can_show_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="can't be a label"):
        check_label(label)
