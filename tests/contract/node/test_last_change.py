"""When a source last changed is the same before and after the node started again, and with the node down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.model.times import SECOND
from engine.node.monitoring.offline import status_of
from tests.nodes import Fill, InProcessNode, Writer, in_process_node, journal_of

ADDRESS = "g/a/files"
BEGAN = 1_600_000_000 * SECOND


def told(found: dict[str, Any]) -> dict[str, Any]:
    [row] = [row for group in found["groups"] for row in group["sources"]]
    return {name: row[name] for name in ("last_change_at", "point", "gaps")}


def asked(node: InProcessNode) -> dict[str, Any]:
    return told(node.call("GET", "/v1/status").json)


def gap_at(at: int) -> Fill:
    return lambda b: (b.mark(at, "gap", "down", "", at - 1), b.mark(at, "pass", "", "quiet"))


def everywhere(home: Path, node: InProcessNode) -> list[dict[str, Any]]:
    """As the running node says, and as the journal says that another process reads."""
    with journal_of(home) as journal:
        return [asked(node), told(status_of(journal, node.parts.clock.now()))]


def test_marks_and_gaps_are_no_changes_and_a_restart_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        writer = Writer(node, ADDRESS, "a").protect()
        writer.send(lambda b: (b.dentry(BEGAN, 0, b"x", None), b.mark(BEGAN, "baseline", point_class="quiet")))
        writer.send(lambda b: (b.dentry(BEGAN + SECOND, 0, b"x", None), b.mark(BEGAN + 2 * SECOND, "pass")))
        for later in range(3, 9):
            writer.send(gap_at(BEGAN + later * SECOND))
        before = everywhere(home, node)
    assert before[0]["last_change_at"] == "2020-09-13T12:26:41.000000Z" and before[0]["gaps"] == 6
    assert before[1] == before[0]
    with in_process_node(home) as node:
        assert everywhere(home, node) == before


def test_what_a_recovery_left_behind_is_no_change_any_more(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with in_process_node(home) as node:
        writer = Writer(node, ADDRESS, "a").protect()
        writer.send(lambda b: (b.dentry(BEGAN, 0, b"x", None), b.mark(BEGAN, "baseline", point_class="quiet")))
        good = asked(node)
        spoilt = BEGAN + 60 * SECOND
        writer.send(lambda b: (b.dentry(spoilt, 0, b"x", None), b.mark(spoilt, "gap", "down", "", BEGAN)))
        writer.send(lambda b: (b.dentry(spoilt, 0, b"y", None), b.mark(spoilt, "pass", "", "quiet")))
        assert asked(node) != good
        path = f"/v1/streams/{writer.stream}/recoveries"
        made = node.call("POST", path, {"id": "r1", "position": good["point"], "dir": "/srv", "who": "a test"})
        assert made.status == 201, made.text
        assert everywhere(home, node) == [good, good]
        writer.send(lambda b: (b.dentry(spoilt + 1, 0, b"z", None), b.mark(spoilt + 1, "pass", "", "quiet")))
        assert everywhere(home, node) == [good, good], "what the branch still gets counts as little"
    with in_process_node(home) as node:
        assert asked(node) == good
