"""What bcsctl drill shows, from fixed data against golden files; its JSON; what the status says of drills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bcsctl.drill_view import answer, render, told_of
from bcsctl.status_view import of_drills
from engine.model.times import MINUTE, SECOND
from engine.plan.drills import GroupPolicy
from engine.recovery.drill.evidence import Evidence, Restored, Row, for_audit, objectives

AT = 1_795_348_800_000_000
POLICY = GroupPolicy("finance", "d1", (), {"finance/sf-db1/files": {}}, 7, "c0ffee", 5 * SECOND, 2 * MINUTE)


def evidence(*rows: Row, rto: float | None = 1.25, lost: float = 0.5) -> Evidence:
    made = Evidence("0011223344556677", POLICY, 0, "latest", AT, AT, {"host": "sf-bcs1", "dir": "/x"})
    address = "finance/sf-db1/files"
    made.sources.append(Restored(address, "s1", "1.1234", AT - SECOND, "quiet", 3, 5, 4096, 0.8, lost))
    made.checks += [Row("restore", True, "3 files came back", 0.8, address), *rows]
    made.rto_seconds, made.seconds = rto, 2.5
    made.checks += objectives(made, 3 * SECOND)
    return made


def as_json(made: Evidence) -> dict[str, Any]:
    return {**made.as_json(), "recorded": True}


def test_one_that_passed_and_one_that_failed(golden: Callable[[str], None]) -> None:
    address = "finance/sf-db1/files"
    render(told_of([as_json(evidence(Row("application", None, "nothing was asked", address=address)))]))
    differs = Row("checksums", False, "/a\x1b differs: content at byte 7", 0.3, address, differs=True)
    output = "".join(f"line {number}\n" for number in range(30)) + "\x1b[31mbroken\n"
    command = Row("command", False, "it exited with 3", 0.1, "", "test -s ledger.csv", output)
    render(told_of([as_json(evidence(differs, command, rto=150.0, lost=60.0))]))
    golden("drill")


def test_objectives_are_checks_and_an_rpo_is_known_no_better_than_agents_are_heard() -> None:
    assert [(row.name, row.passed) for row in evidence(rto=120.0, lost=8.0).checks[1:]] == [
        ("rto", True),
        ("rpo", True),
    ]
    said = evidence(rto=None, lost=8.0).checks[-1].message
    assert said == "8.0 s, the objective is 5.0 s, passed within the 3.0 s that hearing from an agent may take"
    assert "passed within" not in evidence(rto=None, lost=5.0).checks[-1].message
    assert [row.passed for row in evidence(rto=120.1, lost=8.1).checks[1:]] == [False, False]
    assert [row.name for row in evidence(rto=None).checks[1:]] == ["rpo"]
    assert evidence(rto=120.1).reason == "rto: 120.1 s, the objective is 2 m"


def test_several_drills_are_as_good_as_the_worst() -> None:
    good, bad = evidence(rto=1.0, lost=2.0), evidence(Row("checksums", False, "differs"), rto=3.0, lost=1.0)
    told = told_of([as_json(good), as_json(bad)])
    assert (told["passed"], told["rto_seconds"], told["rpo_seconds"]) == (False, 3.0, 2.0)
    assert len(told["drills"]) == 2 and len(told["checks"]) == len(good.checks) + len(bad.checks)
    assert answer(told).startswith("finance FAILED 1 of its 2 drills: checksums: differs; RTO 3.0 s (objective 2 m)")
    assert answer(told_of([as_json(bad)] * 2)).startswith("finance FAILED its 2 drills: ")
    assert told_of([as_json(good), as_json(evidence(rto=None))])["rto_seconds"] is None


def test_what_the_audit_keeps_is_bounded_and_holds_what_failed() -> None:
    rows = [Row("checksums", number != 700, "", 0.0, f"g/h{number}/s") for number in range(1000)]
    kept = for_audit(as_json(evidence(*rows)))
    assert (len(kept["checks"]), kept["checks_count"]) == (500, 1003)
    assert kept["checks"][0]["address"] == "g/h700/s"


def test_the_status_has_a_line_on_the_last_drill_and_one_on_what_is_not_proven() -> None:
    last = {"passed": True, "at": "2026-11-22T12:00:00.000000Z", "rto_seconds": 1.25, "rpo_seconds": None}
    drill = {"state": "passed", "reason": "", "running": False, "last": last}
    assert of_drills(None) == of_drills({**drill, "state": "none", "last": None}) == []
    [(text, _)] = of_drills(drill)
    assert text.startswith("last drill: passed 2026-11-22") and text.endswith("RTO 1.2 s, RPO -")
    texts = [text for text, _ in of_drills({**drill, "state": "void", "reason": "the policy has changed"})]
    assert texts[1:] == ["unproven: the policy has changed"]
    assert of_drills({**drill, "running": True})[1][0] == "a drill runs now"
