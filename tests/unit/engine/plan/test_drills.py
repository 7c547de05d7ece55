"""Which drill is due, and what drills make of a group."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.plan import drills
from engine.plan.drills import (
    BEGUN,
    ENDED,
    Due,
    GroupPolicy,
    Known,
    any_moment,
    due,
    groups_in,
    next_at,
    standing,
    take,
)

NOW = 1_795_348_800_000_000


def applied(*declared: dict[str, Any], exclude: tuple[str, ...] = (), defaults: Any = None) -> dict[str, Any]:
    documents: dict[str, Any] = {"ProtectionGroup/g": {"spec": {"drills": list(declared)} if declared else {}}}
    if defaults is not None:
        documents["Defaults/all"] = {"spec": {"drills": defaults}}
    source = {"stream": "s1", "rpo": "5s", "rto": "2m", "exclude": list(exclude)}
    return {"number": 3, "commit": "c0ffee", "documents": documents, "sources": {"g/h/files": source}}


def policy(*declared: dict[str, Any], **changes: Any) -> GroupPolicy:
    return groups_in(applied(*(declared or ({"every": "1d"},)), **changes))["g"]


def ended(known: dict[str, Known], of: GroupPolicy, at: int, *, drill: int | None = 0, **changes: Any) -> None:
    details = {"id": f"{at}", "group": "g", "drill": drill, "policy": {"digest": of.digest}, "passed": True}
    take(known, ENDED, {**details, "seconds": 10.0, **changes}, at, "node")


def state(of: GroupPolicy, known: dict[str, Known], now: int = NOW) -> str:
    return standing(of, known.get("g", Known()), now).state


def test_groups_carry_what_policies_say_of_them() -> None:
    found = policy({"every": "1d", "checks": ["checksums", {"command": ["true"], "timeout": "1s"}]})
    assert (found.number, found.commit, found.rpo, found.rto) == (3, "c0ffee", 5 * SECOND, 2 * MINUTE)
    [drill] = found.drills
    assert (drill.every, drill.restore, drill.checks[1].command) == (DAY, "latest", ("true",))


def test_one_by_on_demand_start_has_no_checksums_unless_asked_for() -> None:
    [cold] = policy({"every": "1d", "onDemand": "fill"}).drills
    [afar] = policy({"every": "1d", "host": "sf-spare1"}).drills
    assert (cold.on_demand, cold.checks, afar.host) == ("fill", (), "sf-spare1")
    assert [check.name for check in afar.checks] == ["checksums"]
    assert policy({"every": "1d"}).digest != policy({"every": "1d", "onDemand": "fill"}).digest


def test_a_drill_on_a_host_is_void_stale_and_failed_as_any_other() -> None:
    of, known = policy({"every": "1d", "host": "b"}), dict[str, Known]()
    assert state(of, known) == "never"
    ended(known, of, NOW, where={"host": "b"})
    assert (state(of, known), state(of, known, NOW + 2 * DAY)) == ("passed", "stale")
    assert state(policy({"every": "1d", "host": "c"}), known) == "void"
    ended(known, of, NOW + HOUR, passed=False, reason="host: it was cut off", where={"host": "b"})
    assert state(of, known, NOW + HOUR) == "failed"
    assert next_at(of, known["g"], 0) == NOW + 2 * HOUR


def test_drills_are_inherited_unless_a_group_has_its_own() -> None:
    inherited = groups_in(applied(defaults=[{"every": "7d"}]))["g"]
    assert [drill.every for drill in inherited.drills] == [7 * DAY]
    assert [drill.every for drill in policy(defaults=[{"every": "7d"}]).drills] == [DAY]


def test_a_digest_stands_for_sources_drills_and_the_group_and_for_nothing_else() -> None:
    before = policy().digest
    other = applied({"every": "1d"})
    other["sources"]["other/h/files"] = {"stream": "s2", "rpo": "1s"}
    assert groups_in({**other, "number": 4, "commit": "other"})["g"].digest == before
    assert policy(exclude=("*.tmp",)).digest != before
    assert policy({"every": "2d"}).digest != before
    assert groups_in(applied(defaults=[{"every": "1d"}]))["g"].digest != groups_in(applied())["g"].digest


def test_policies_of_a_newer_release_are_no_fault() -> None:
    assert policy({"every": "1d", "checks": [{"driver": "new"}]}).drills == ()


def test_a_group_is_unproven_until_its_drill_has_passed() -> None:
    of, known = policy(), dict[str, Known]()
    assert state(of, known) == "never"
    ended(known, of, NOW - HOUR, passed=False, reason="checksums: it differs")
    assert state(of, known) == "failed"
    assert standing(of, known["g"], NOW).reason == "its last drill failed: checksums: it differs"
    ended(known, of, NOW - MINUTE)
    assert state(of, known) == "passed"


def test_a_drill_is_stale_once_it_is_older_than_the_policy_asks_and_a_tenth() -> None:
    of, known = policy(), dict[str, Known]()
    ended(known, of, NOW - DAY - DAY // 10)
    assert state(of, known) == "passed"
    assert state(of, known, NOW + 1) == "stale"


def test_a_drill_is_void_once_the_policy_of_its_group_has_changed() -> None:
    known: dict[str, Known] = {}
    ended(known, policy(), NOW - MINUTE)
    changed = policy(exclude=("*.tmp",))
    assert state(changed, known) == "void"
    ended(known, changed, NOW)
    assert state(changed, known) == "passed"
    assert state(policy(), known) == "void"


def test_each_drill_of_a_group_counts() -> None:
    of, known = policy({"every": "1d"}, {"every": "7d", "restore": "random"}), dict[str, Known]()
    ended(known, of, NOW)
    assert state(of, known) == "never"
    ended(known, of, NOW, drill=1, passed=False)
    assert state(of, known) == "failed"


def test_a_failure_beside_the_policy_counts_until_a_later_drill_passes() -> None:
    for of in (policy(), groups_in(applied())["g"]):
        known: dict[str, Known] = {}
        if of.drills:
            ended(known, of, NOW - HOUR)
        ended(known, of, NOW - MINUTE, drill=None, passed=False)
        assert state(of, known) == "failed"
        ended(known, of, NOW, drill=0 if of.drills else None)
        assert state(of, known) == ("passed" if of.drills else "none")


def found_due(
    of: GroupPolicy, known: dict[str, Known], now: int = NOW, *, ready: bool = True, since: int = 0
) -> list[Due]:
    return due([of], known, lambda group: since, lambda group: ready, now)


def test_what_was_never_made_or_is_void_is_due_at_once_and_then_by_its_time() -> None:
    of, known = policy(), dict[str, Known]()
    assert [each.why for each in found_due(of, known)] == ["never"]
    ended(known, policy(exclude=("*.tmp",)), NOW)
    assert [each.why for each in found_due(of, known)] == ["void"]
    ended(known, of, NOW)
    assert found_due(of, known) == []
    began = NOW - 10 * SECOND
    assert found_due(of, known, began + DAY - 1) == []
    assert [each.since for each in found_due(of, known, began + DAY)] == [began + DAY]


def test_one_that_failed_is_made_again_within_the_hour() -> None:
    for every, again in (("1d", HOUR), ("5m", 5 * MINUTE)):
        of, known = policy({"every": every}), dict[str, Known]()
        ended(known, of, NOW, passed=False)
        assert next_at(of, known["g"], 0) == NOW + again


def test_one_that_was_cut_off_is_not_made_again_at_once() -> None:
    of, known = policy(), dict[str, Known]()
    take(known, BEGUN, {"group": "g", "drill": 0, "id": "one"}, NOW)
    assert found_due(of, known) == []
    assert len(found_due(of, known, NOW + drills.CUT_OFF)) == 1
    ended(known, of, NOW + SECOND, id="one")
    assert found_due(of, known, NOW + drills.CUT_OFF) == []


def test_a_group_without_points_waits_for_them_but_not_for_ever() -> None:
    of = policy()
    assert found_due(of, {}, ready=False, since=NOW - MINUTE) == []
    assert len(found_due(of, {}, ready=False, since=NOW - drills.NOT_READY_AFTER - 1)) == 1


def test_the_one_that_waits_longest_comes_first() -> None:
    of, known = policy({"every": "1h"}, {"every": "2h"}), dict[str, Known]()
    ended(known, of, NOW - 5 * HOUR, drill=0)
    ended(known, of, NOW - 9 * HOUR, drill=1)
    assert [each.drill for each in found_due(of, known)] == [1, 0]


@pytest.mark.parametrize(
    "details",
    [{}, {"group": 1}, {"group": "g", "drill": "x", "policy": {"digest": ""}, "seconds": 1, "passed": True},
     {"group": "g", "drill": 0, "policy": None, "seconds": 1, "passed": True}, {"group": "g", "id": 5}],
)  # fmt: skip
def test_nonsense_in_the_audit_is_no_drill(details: dict[str, Any]) -> None:
    known: dict[str, Known] = {}
    take(known, ENDED, details, NOW)
    take(known, BEGUN, details, NOW)
    take(known, "restore", details, NOW)
    assert all(not each.results and not each.begun for each in known.values())


def test_any_moment_is_of_the_kept_past_and_in_no_gap() -> None:
    assert any_moment(100, 200, 0.5) == 150
    assert any_moment(100, 100, 0.9) == 100
    inside = any_moment(100, 200, 0.5, [lambda at: 140 <= at < 160])
    assert inside is not None and 100 <= inside <= 200 and not 140 <= inside < 160
    assert any_moment(100, 200, 0.5, [lambda at: True]) is None


def test_a_first_drill_that_nobody_makes_is_overdue() -> None:
    of, known = policy(), Known()
    found = standing(of, known, NOW)
    assert not drills.overdue(of, found, NOW - DAY, NOW)
    assert drills.overdue(of, found, NOW - drills.stale_after(DAY) - 1, NOW)
    known.results[0] = drills.Result("g", of.digest, 0, NOW, NOW, True)
    assert not drills.overdue(of, standing(of, known, NOW), 0, NOW)
