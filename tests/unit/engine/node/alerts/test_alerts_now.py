"""What is the matter, out of a status: each event, when it holds and when not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.model.times import DAY, HOUR, MINUTE, SECOND, format_time
from engine.node.alerts.acts_told import Checked, told_of
from engine.node.alerts.alerts_now import EVENTS, OVER, Beside, Disk, alerts_in
from engine.node.monitoring.status import GRACE
from engine.node.sync import Sync
from engine.plan.alerts import HELD
from tests.embedded import ROOT

NOW = 1_795_348_800_000_000
WEEK = 7 * 86400


def source(**changes: Any) -> dict[str, Any]:
    return {
        "address": "g/h/s",
        "gap_open_since": None,
        "lag_seconds": 0.5,
        "rpo_target_seconds": 5.0,
        "condition": "protected",
        "expected_since": format_time(NOW - DAY),
        **changes,
    }


def host(**changes: Any) -> dict[str, Any]:
    return {"host": "h", "state": "healthy", "since": None, "sources": 1, "certificate": None, **changes}


def ends(ago: int, revoked_at: str | None = None) -> dict[str, Any]:
    return {"serial": "1", "not_after": format_time(NOW + ago), "revoked_at": revoked_at}


def texts(
    *, source_row: dict[str, Any] | None = None, host_row: dict[str, Any] | None = None, beside: Beside | None = None
) -> dict[str, str]:
    groups = [{"name": "g", "sources": [source_row or source()]}]
    found = {"at": format_time(NOW), "groups": groups, "hosts": [host_row or host()]}
    return {key: alert.text for key, alert in alerts_in(found, beside or Beside(WEEK)).items()}


def test_nothing() -> None:
    assert texts() == {}


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (source(gap_open_since=format_time(NOW - MINUTE)), "gap g/h/s"),
        (source(lag_seconds=5.0 + GRACE / SECOND), None),
        (source(lag_seconds=5.1 + GRACE / SECOND), "rpo-missed g/h/s"),
        (source(lag_seconds=4000.0, rpo_target_seconds=3600.0), "rpo-missed g/h/s"),
        # no recovery point at all: after a quarter of an hour, or its objective where that is longer
        (source(lag_seconds=None, condition="unprotected"), "rpo-missed g/h/s"),
        (source(lag_seconds=None, condition="never-seen", expected_since=format_time(NOW - 14 * MINUTE)), None),
        (source(lag_seconds=None, condition="never-seen", rpo_target_seconds=2 * 86400.0), None),
        (source(lag_seconds=None, condition="baseline"), None),
    ],
)
def test_of_sources(row: dict[str, Any], key: str | None) -> None:
    assert list(texts(source_row=row)) == ([key] if key else [])


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (host(state="silent", since=format_time(NOW - MINUTE)), "agent-silent h"),
        (host(state="refused", since=format_time(NOW - MINUTE)), "agent-silent h"),
        (host(state="never-seen", since=format_time(NOW - HOUR)), "agent-silent h"),
        (host(state="never-seen", since=format_time(NOW - 10 * MINUTE)), None),
        (host(state="silent", since=format_time(NOW - MINUTE), sources=0), None),
        (host(state="lagging"), None),
        (host(certificate=ends(2 * DAY)), None),
        (host(certificate=ends(DAY - SECOND)), "certificate-expiring h"),
        (host(certificate=ends(HOUR, format_time(NOW))), None),
        (host(certificate=ends(-HOUR)), None),  # then it is refused, and silent
        (host(clock_skew_seconds=2.1), "clock-skew h"),
        (host(clock_skew_seconds=-3600.0), "clock-skew h"),
        (host(clock_skew_seconds=-2.0), None),
        (host(usage={"spool_bytes": 81, "spool_limit_bytes": 100}), "spool-filling h"),
        (host(usage={"spool_bytes": 80, "spool_limit_bytes": 100}), None),
        (host(usage=None, clock_skew_seconds=None), None),
    ],
)
def test_of_hosts(row: dict[str, Any], key: str | None) -> None:
    assert list(texts(host_row=row)) == ([key] if key else [])


def test_what_a_silent_agent_said_last_is_no_matter_of_now() -> None:
    row = host(state="silent", since=format_time(NOW - MINUTE), clock_skew_seconds=99.0)
    assert list(texts(host_row=row)) == ["agent-silent h"]


def test_short_certificates_are_not_always_about_to_end() -> None:
    assert texts(host_row=host(certificate=ends(20 * MINUTE)), beside=Beside(3600)) == {}
    assert list(texts(host_row=host(certificate=ends(9 * MINUTE)), beside=Beside(3600))) == ["certificate-expiring h"]


def test_of_the_site() -> None:
    failed = Sync(NOW, "failed", message="main can't be fetched", failing_since=NOW - HOUR)
    assert texts(beside=Beside(WEEK, failed, Disk(4 << 30, 100 << 30))) == {
        "apply-failed policies": "the repository is not applied since 2026-11-22 11:00:00 UTC: main can't be fetched",
        "disk-low journal": "its disk has 4.0 GiB of 100.0 GiB left; when it is full nothing more is protected",
    }
    assert texts(beside=Beside(WEEK, Sync(NOW, "healed"), Disk(6 << 30, 100 << 30))) == {}
    assert texts(beside=Beside(WEEK, disk=Disk(0, 0))) == {}


def test_the_schema_knows_every_event_and_no_other() -> None:
    schema = json.loads((ROOT / "policies" / "schema" / "notification.schema.json").read_text())
    on = schema["properties"]["spec"]["properties"]["on"]
    assert sorted(on["items"]["enum"]) == sorted(EVENTS)
    assert on["maxItems"] == len(EVENTS)
    assert {*OVER, *HELD} <= set(EVENTS)
    assert all(event in on["description"] for event in EVENTS)


@pytest.mark.parametrize(
    ("what", "details", "event", "text"),
    [
        (
            "apply",
            {"number": 3, "commit": "0123456789abcdef", "dirty": True, "sources": ["a", "b"]},
            "control-changed",
            "ann applied policies number 3, commit 0123456789ab with changes of its own: 2 sources",
        ),
        ("apply", {}, "control-changed", "ann applied policies number , from no commit: policies"),
        ("token-create", {"name": "ci"}, "control-changed", "ann made the token 'ci'"),
        ("token-revoke", {"name": "ci\n"}, "control-changed", "ann revoked the token 'ci?'"),
        ("certificates-revoked", {"host": "h"}, "control-changed", "ann revoked the certificates of host h"),
        (
            "restore",
            {"verified": False, "address": "g/h/s", "state": "done"},
            "verify-failed",
            "a restore by ann came back with differences to what was protected",
        ),
        ("sync", {"state": "healed", "message": "brought back 2 sources"}, "drift", "brought back 2 sources"),
    ],
)
def test_acts_that_are_told(what: str, details: dict[str, Any], event: str, text: str) -> None:
    told = told_of(what, "ann", details, NOW)
    assert told is not None and told.notice is not None
    assert (told.notice.kind, told.notice.event, told.notice.text) == ("happened", event, text)


@pytest.mark.parametrize(
    ("state", "code", "is_told"),
    [("failed", "refused", False), ("cancelled", "", False), ("failed", "damaged", True), ("done", "", True)],
)
def test_a_restore_that_compared_nothing_has_found_no_differences(state: str, code: str, is_told: bool) -> None:
    details = {"verified": False, "address": "g/h/s", "state": state, "code": code}
    assert (told_of("restore", "ann", details, NOW) is not None) is is_told


def test_checks_stand_until_the_next_one() -> None:
    bad, good = told_of("check", "ann", {"errors": 1}, NOW), told_of("check", "ann", {"errors": 0}, NOW)
    assert bad is not None and bad.begins is not None and good is not None
    assert bad.begins.text == "a check found 1 error in the journal"
    assert (good.ends, good.checked, bad.checked) == (bad.begins.key, Checked(NOW, 0), Checked(NOW, 1))


@pytest.mark.parametrize(
    ("state", "overdue", "told"),
    [("failed", False, 1), ("stale", False, 1), ("void", False, 0), ("never", False, 0), ("never", True, 1),
     ("passed", False, 0), ("none", False, 0)],
)  # fmt: skip
def test_drills_are_told_of_by_what_they_make_of_their_group(state: str, overdue: bool, told: int) -> None:
    drill = {
        "overdue": overdue,
        "state": state,
        "reason": "its last drill failed: checksums",
        "since": format_time(NOW - SECOND),
    }
    groups = [{"name": "finance", "sources": [], "drill": drill}]
    status = {"at": format_time(NOW), "groups": groups, "hosts": []}
    alerts = alerts_in(status, Beside(WEEK))
    assert len(alerts) == told
    assert all((each.event, each.subject) == ("drill-failed", "finance") for each in alerts.values())
    assert all((each.since, each.text) == (NOW - SECOND, drill["reason"]) for each in alerts.values())


@pytest.mark.parametrize(
    ("what", "details"),
    [("mark", {}), ("restore", {"verified": True}), ("restore", {}), ("sync", {"state": "failed"}), ("sign-in", {})],
)
def test_acts_that_nobody_is_told_of(what: str, details: dict[str, Any]) -> None:
    assert told_of(what, "ann", details, NOW) is None


@pytest.mark.parametrize("errors", ["2", None, -1, 1.5])
def test_nonsense_in_an_act_is_no_fault(errors: object) -> None:
    told = told_of("check", "", {"errors": errors}, NOW)
    assert told is not None and told.checked == Checked(NOW, 0)
