"""The reconciler as data: {desired, observed, actions}, then its guards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engine.model.errors import Refused
from engine.model.ids import Address, stream_id
from engine.model.policy.documents import Document
from engine.model.policy.group import Consistency, Hooks, Ignored, ProtectionGroup
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.retention import Tier
from engine.model.times import DAY, HOUR, MINUTE, SECOND
from engine.plan.desired import for_agent
from engine.plan.observed import Observed, Process
from engine.plan.reconcile import Plan, adopt_streams, check_guards, diff

TIERS = (Tier(0, 7 * DAY), Tier(HOUR, 90 * DAY))
RUNNING = Process("running", "1.0")


def source(name: str, paths: tuple[str, ...] = ("/srv",), **changes: Any) -> SourceSpec:
    address = Address(*name.split("/"))
    base = SourceSpec(
        address=address,
        stream_id=stream_id(address),
        kind="files",
        site="local",
        paths=paths,
        rpo=5 * SECOND,
        rto=None,
        consistency=Consistency(),
        retention=TIERS,
    )
    return replace(base, **changes)


def group(name: str, **spec: Any) -> Document:
    raw = {"apiVersion": "bcs/v1alpha1", "kind": "ProtectionGroup", "metadata": {"name": name}, "spec": spec}
    return Document("ProtectionGroup", name, raw, file=f"{name}.yaml", line=1)


def policies(*sources: SourceSpec, **specs: Mapping[str, Any]) -> PolicySet:
    """A set with a group for each source's, whose spec may be given by name."""
    names = sorted({spec.group for spec in sources} | set(specs))
    groups = tuple(
        ProtectionGroup(name, "local", ("localhost",), (), TIERS, formerly=_formerly(sources, name)) for name in names
    )
    documents = tuple(group(name, **specs.get(name, {"sources": []})) for name in names)
    return PolicySet(documents=documents, groups=groups, sources=sources)


def _formerly(sources: tuple[SourceSpec, ...], name: str) -> tuple[str, ...]:
    return next((tuple(a.group for a in s.former_addresses) for s in sources if s.group == name), ())


def applied(policies: PolicySet, number: int = 3, **changes: Any) -> Observed:
    recorded = policies.as_json()
    observed = Observed(number, recorded["documents"], recorded["sources"], RUNNING, RUNNING, "1.0")
    return replace(observed, **changes)


FRESH = Observed(version="1.0")
A, B = source("a/localhost/files"), source("b/localhost/files", ("/etc",))
RENAMED = source("new/localhost/files", former_addresses=(A.address,), stream_id=stream_id(A.address))


@dataclass(frozen=True)
class Case:
    desired: PolicySet
    observed: Observed
    actions: list[str]
    fields: Mapping[str, list[Any]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


CASES = {
    "first apply": Case(
        policies(A),
        FRESH,
        [
            "create Node local",
            "create Agent localhost",
            "create ProtectionGroup a",
            "create Source a/localhost/files",
        ],
        reasons=("new in a.yaml", "starts to protect /srv"),
    ),
    "second apply": Case(policies(A, B), applied(policies(A, B)), []),
    "one more": Case(
        policies(A, B), applied(policies(A)), ["create ProtectionGroup b", "create Source b/localhost/files"]
    ),
    "one gone": Case(
        policies(A),
        applied(policies(A, B)),
        ["remove ProtectionGroup b", "remove Source b/localhost/files"],
        reasons=("no longer among the policies; protection stops, its history is kept",) * 2,
    ),
    "objective changed": Case(
        policies(replace(A, rpo=60 * SECOND), a={"objectives": {"rpo": "1m"}}),
        applied(policies(A, a={"objectives": {"rpo": "5s"}})),
        ["update ProtectionGroup a", "update Source a/localhost/files"],
        {"spec.objectives.rpo": ["5s", "1m"], "rpo": ["5s", "1m"]},
        ("differs from what apply 3 recorded", "its policy changed"),
    ),
    "path moved": Case(
        policies(replace(A, paths=("/srv", "/opt"))),
        applied(policies(replace(A, paths=("/srv", "/var")))),
        ["update Source a/localhost/files"],
        {"paths": [["/srv", "/var"], ["/srv", "/opt"]]},
        ("stops to protect /var, its history is kept; starts to protect /opt",),
    ),
    "lists item by item": Case(
        policies(a={"sources": [{"files": {"paths": ["/b"]}}]}),
        applied(policies(a={"sources": [{"files": {"paths": ["/a"]}}]})),
        ["update ProtectionGroup a"],
        {"spec.sources[0].files.paths": [["/a"], ["/b"]]},
    ),
    "group renamed": Case(
        policies(RENAMED),
        applied(policies(A)),
        ["update ProtectionGroup new", "update Source new/localhost/files"],
        {
            "metadata.name": ["a", "new"],
            "address": ["a/localhost/files", "new/localhost/files"],
        },
        ("renamed from a; its history goes on", "was a/localhost/files; its history goes on"),
    ),
    "formerly stays in the file after the rename": Case(policies(RENAMED), applied(policies(RENAMED)), []),
    "formerly leaves the file after the rename": Case(
        policies(source("new/localhost/files")), applied(policies(RENAMED)), []
    ),
    "dead node and agent": Case(
        policies(A),
        applied(policies(A), node=Process("stopped", "1.0"), agent=Process("stopped", "1.0")),
        ["start Node local", "start Agent localhost"],
        reasons=("is not running",) * 2,
    ),
    "old agent": Case(
        policies(A),
        applied(policies(A), agent=Process("running", "0.9")),
        ["upgrade Agent localhost"],
        {"version": ["0.9", "1.0"]},
        ("has version 0.9",),
    ),
    "old agent that is stopped": Case(
        policies(A), applied(policies(A), agent=Process("stopped", "0.9")), ["upgrade Agent localhost"]
    ),
    "no embedded source, no embedded node": Case(
        policies(replace(A, site="sf")), replace(FRESH), ["create ProtectionGroup a", "create Source a/localhost/files"]
    ),
    "empty over nothing": Case(PolicySet(), FRESH, []),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    case = CASES[name]
    plan = diff(case.desired, case.observed)
    assert [f"{action.action} {action.kind} {action.name}" for action in plan.actions] == case.actions
    assert plan.noop == (not case.actions)
    fields = {key: [change.old, change.new] for action in plan.actions for key, change in action.fields.items()}
    assert {key: fields.get(key) for key in case.fields} == case.fields
    for reason in case.reasons:
        assert reason in [action.reason for action in plan.actions]


@pytest.mark.parametrize("name", CASES)
def test_a_plan_after_its_apply_is_empty(name: str) -> None:
    plan = diff(CASES[name].desired, CASES[name].observed)
    assert diff(plan.desired, applied(plan.desired)).noop


def test_json_of_a_plan() -> None:
    plan = diff(policies(replace(A, rpo=SECOND)), applied(policies(A)))
    assert plan.as_json() == {
        "changes": [
            {
                "action": "update",
                "kind": "Source",
                "name": "a/localhost/files",
                "site": "local",
                "fields": {"rpo": {"old": "5s", "new": "1s"}},
                "reason": "its policy changed",
            }
        ],
        "summary": {"create": 0, "update": 1, "remove": 0, "start": 0, "upgrade": 0, "unchanged": 1},
        "noop": False,
        "base": 3,
        "bases": {"local": 3},
        "guard": {"needed": False, "sources": 0, "stops": [], "shortens": [], "reason": ""},
        "unknown": [],
        "passed_over": [],
        "refused": [],
    }


def many(count: int) -> tuple[SourceSpec, ...]:
    return tuple(source(f"g/h{number}/files") for number in range(count))


def coarser(spec: SourceSpec) -> SourceSpec:
    return replace(spec, retention=(Tier(0, DAY),))


GUARDS: dict[str, tuple[Callable[[], Plan], int | None]] = {
    # name: the plan, and the number to confirm (None: no confirmation is needed)
    "a fifth stops": (lambda: diff(policies(*many(8)), applied(policies(*many(10)))), None),
    "more than a fifth stops": (lambda: diff(policies(*many(7)), applied(policies(*many(10)))), 3),
    "the only one stops": (lambda: diff(policies(g={}), applied(policies(*many(1)))), 1),
    "one retention shortened": (lambda: diff(policies(coarser(A), B), applied(policies(A, B))), 1),
    "retention given where everything was kept": (
        lambda: diff(policies(A), applied(policies(replace(A, retention=())))),
        1,
    ),
    "retention lengthened": (lambda: diff(policies(A, B), applied(policies(coarser(A), B))), None),
    "retention of a renamed group shortened": (
        lambda: diff(policies(coarser(RENAMED)), applied(policies(A))),
        1,
    ),
    "both": (lambda: diff(policies(coarser(many(2)[0])), applied(policies(*many(2)))), 2),
    "nothing at all": (lambda: diff(policies(A), applied(policies(A))), None),
}


@pytest.mark.parametrize("name", GUARDS)
def test_guards_ask_for_the_number_of_sources(name: str) -> None:
    make, number = GUARDS[name]
    plan = make()
    if number is None:
        assert not plan.guard.needed
        check_guards(plan)
        return
    for wrong in (None, 0, number + 1):
        with pytest.raises(Refused) as caught:
            check_guards(plan, confirm=wrong)
        assert f"--confirm {number}" in caught.value.hint
        assert caught.value.details["sources"] == number
    check_guards(plan, confirm=number)


def test_refusal_says_what_the_plan_does() -> None:
    plan = diff(policies(coarser(many(2)[0])), applied(policies(*many(2))))
    with pytest.raises(Refused) as caught:
        check_guards(plan)
    assert caught.value.message == "the plan stops protecting 1 source of 2 and shortens the retention of 1 source"


def test_an_empty_set_is_refused_unless_allowed() -> None:
    plan = diff(PolicySet(), applied(policies(A)))
    with pytest.raises(Refused, match="no policy document"):
        check_guards(plan, confirm=1)
    check_guards(plan, confirm=1, allow_empty=True)


def test_a_part_removes_nothing_unless_pruned() -> None:
    observed = applied(policies(*many(10)))
    with pytest.raises(Refused, match="applying a part would remove Source g/h9/files"):
        check_guards(diff(policies(*many(9)), observed, partial=True))
    check_guards(diff(policies(*many(9)), observed, partial=True, prune=True))
    with pytest.raises(Refused) as caught:
        check_guards(diff(policies(*many(7)), observed, partial=True), confirm=3)
    assert "--prune --confirm 3" in caught.value.hint
    assert caught.value.details["sources"] == 3


def test_a_new_group_cannot_take_over_the_history_of_a_renamed_one() -> None:
    with pytest.raises(Refused, match="a/localhost/files would continue the history of new/localhost/files"):
        diff(policies(source("new/localhost/files"), A), applied(policies(RENAMED)))


def test_a_twice_renamed_group_keeps_its_first_stream() -> None:
    third = source("third/localhost/files", former_addresses=(RENAMED.address,), stream_id=stream_id(RENAMED.address))
    (adopted,) = adopt_streams(policies(third), applied(policies(RENAMED))).sources
    assert adopted.stream_id == stream_id(A.address)


def test_what_an_agent_is_told_of_a_source() -> None:
    one = replace(A, exclude=("*.tmp",), ignore=(Ignored("/srv/a[1]*", "rebuilt"),))
    assert for_agent("a/localhost/files", one.as_json()) == {
        "stream": A.stream_id,
        "address": "a/localhost/files",
        "kind": "files",
        "paths": ["/srv"],
        "exclude": ["*.tmp", r"/srv/a\[1\]\*"],
        "rpo_seconds": 5.0,
        "settings": {},
        "crash_points": {"every_seconds": 3600.0, "freeze": False, "hooks": None},
    }
    hooks = Hooks("systemctl stop it", "systemctl start it", 30 * SECOND)
    frozen = replace(A, consistency=Consistency(15 * MINUTE, True, hooks))
    told = {"before": hooks.before, "after": hooks.after, "timeout": "30s", "timeout_seconds": 30.0}
    assert for_agent("a/localhost/files", frozen.as_json())["crash_points"] == {
        "every_seconds": 900.0,
        "freeze": True,
        "hooks": told,
    }
    old = {name: value for name, value in one.as_json().items() if name not in ("crashPointEvery", "freeze", "hooks")}
    assert for_agent("a/localhost/files", old)["crash_points"] == {"every_seconds": 0, "freeze": False, "hooks": None}
