"""The reconciler over sites with nodes of their own, as data: {desired, observed, actions}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engine.model.errors import Refused
from engine.model.ids import Address, stream_id
from engine.model.policy.documents import Document
from engine.model.policy.group import Consistency, ProtectionGroup, RecoveryTarget, Replication
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.site import Site, SiteNode, Storage
from engine.model.times import SECOND
from engine.plan.observed import (
    EXPIRED,
    NEVER_SEEN,
    REVOKED,
    RUNNING,
    SILENT,
    STOPPED,
    AgentSeen,
    Observed,
    Process,
)
from engine.plan.reconcile import Plan, check_guards, diff, merged
from engine.plan.sites import cannot_carry_out, part_of, refuse_to_move, sites_of

SPEC = {"nodes": [{"host": "n1", "url": "https://n1:8440"}], "storage": {"url": "file:///j"}}
SF = Site("sf", (SiteNode("n1", "https://n1:8440"),), Storage("file:///j", 5_000), inventory="hosts.yml")
BOSTON = replace(SF, name="boston", storage=Storage("s3://b/j", 5_000))


def source(name: str, site: str = "sf") -> SourceSpec:
    address = Address(*name.split("/"))
    return SourceSpec(address, stream_id(address), "files", site, ("/srv",), 5 * SECOND, None, Consistency(), ())


def document(kind: str, name: str, **spec: Any) -> Document:
    return Document(kind, name, {"kind": kind, "metadata": {"name": name}, "spec": spec}, f"{name}.yaml", 1)


def policies(*names: str, more: tuple[str, ...] = (), spec: Mapping[str, Any] = SPEC) -> PolicySet:
    """Site sf with these sources, and agents on their hosts and on `more`."""
    sources = tuple(source(name) for name in names)
    hosts = {spec.address.host for spec in sources} | set(more)
    groups = sorted({each.group for each in sources})
    return PolicySet(
        documents=(document("Site", "sf", **spec), *(document("ProtectionGroup", name) for name in groups)),
        sites=(SF,),
        groups=tuple(ProtectionGroup(name, "sf", tuple(sorted(hosts)), (), ()) for name in groups),
        sources=sources,
        agents={"sf": tuple(sorted(hosts))},
    )


UP = AgentSeen(RUNNING, "1.0", settings="a")
NOTHING = Observed(site="sf", version="1.0", node_version="2.0", settings="a")


def applied(policies: PolicySet, **changes: Any) -> Observed:
    recorded = policies.as_json()
    hosts = tuple(recorded["agents"])
    observed = replace(
        NOTHING,
        number=4,
        documents=recorded["documents"],
        sources=recorded["sources"],
        hosts=hosts,
        node=Process(RUNNING, "2.0"),
        agents=dict.fromkeys(hosts, UP),
    )
    return replace(observed, **changes)


ONE = policies("a/h1/files")
TWO = policies("a/h1/files", "b/h2/files")
SPARE = policies("a/h1/files", more=("h3",))


@dataclass(frozen=True)
class Case:
    desired: PolicySet
    observed: Observed
    actions: list[str]
    reasons: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    records: bool = False
    unknown: bool = False
    options: Mapping[str, bool] = field(default_factory=dict)


def seen(**agents: AgentSeen) -> dict[str, Any]:
    return {"agents": agents}


CASES = {
    "never deployed": Case(
        SPARE,
        NOTHING,
        [
            "create Node n1",
            "create Agent h1",
            "create Agent h3",
            "create Site sf",
            "create ProtectionGroup a",
            "create Source a/h1/files",
        ],
        ("there is no node yet", "there is no agent yet", "starts to protect /srv"),
        records=True,
    ),
    "as it should be": Case(SPARE, applied(SPARE), []),
    "a host to restore to": Case(SPARE, applied(ONE), ["create Agent h3"], records=True),
    "a node that is silent": Case(
        TWO,
        replace(NOTHING, node=Process(STOPPED, why="connection refused"), known=False),
        ["start Node n1"],
        ("does not answer: connection refused",),
        unknown=True,
    ),
    "an old node": Case(ONE, applied(ONE, node=Process(RUNNING, "1.9")), ["upgrade Node n1"], ("has version 1.9",)),
    "other settings of the node": Case(
        policies("a/h1/files", spec={**SPEC, "storage": {"url": "file:///j", "commitEvery": "9ms"}}),
        applied(ONE),
        ["update Node n1", "update Site sf"],
        ("its settings changed",),
        records=True,
    ),
    "another address of the node": Case(
        policies("a/h1/files", spec={**SPEC, "nodes": [{"host": "n1", "url": "https://other:8440"}]}),
        applied(ONE),
        ["update Node n1", "update Agent h1", "update Site sf"],
        ("its node has another address",),
        records=True,
    ),
    "an agent that never came": Case(ONE, applied(ONE, **seen()), ["create Agent h1"], ("there is no agent yet",)),
    "an agent let in that never reported": Case(
        ONE, applied(ONE, **seen(h1=AgentSeen(NEVER_SEEN))), ["start Agent h1"], ("was let in and has not reported",)
    ),
    "a silent agent": Case(
        ONE, applied(ONE, **seen(h1=AgentSeen(SILENT, "1.0", "noon"))), ["start Agent h1"], ("is silent since noon",)
    ),
    "a silent agent of another version is first of all silent": Case(
        ONE, applied(ONE, **seen(h1=AgentSeen(SILENT, "0.9", "noon"))), ["start Agent h1"]
    ),
    "an agent whose certificate ended": Case(
        ONE,
        applied(ONE, **seen(h1=AgentSeen(EXPIRED, "1.0", "noon"))),
        ["start Agent h1"],
        ("its certificate has ended since noon",),
    ),
    "an old agent": Case(
        ONE, applied(ONE, **seen(h1=AgentSeen(RUNNING, "0.9"))), ["upgrade Agent h1"], ("has version 0.9",)
    ),
    "an agent with other settings": Case(
        ONE,
        applied(ONE, **seen(h1=AgentSeen(RUNNING, "1.0", settings="b"))),
        ["update Agent h1"],
        ("runs with other settings",),
    ),
    "an agent that does not say its settings": Case(ONE, applied(ONE, **seen(h1=AgentSeen(RUNNING, "1.0"))), []),
    "a revoked agent": Case(
        ONE,
        applied(ONE, **seen(h1=AgentSeen(REVOKED, "1.0", "noon"))),
        [],
        passed_over=("h1: its certificate was revoked while policies name it",),
    ),
    "a host that nothing names any more": Case(
        ONE,
        applied(TWO),
        ["remove Agent h2", "remove ProtectionGroup b", "remove Source b/h2/files"],
        ("no policy names this host; what it protected keeps its history",),
        records=True,
    ),
    "an agent that was left behind": Case(
        ONE, applied(ONE, **seen(h1=UP, h2=AgentSeen(SILENT, "1.0", "noon"))), ["remove Agent h2"]
    ),
    "an agent left behind that was shut out": Case(
        ONE, applied(ONE, **seen(h1=UP, h2=AgentSeen(REVOKED, "1.0", "noon"))), []
    ),
    "a part can't tell whom nothing names": Case(
        ONE, applied(ONE, **seen(h1=UP, h2=UP)), [], options={"partial": True}
    ),
    "a part that prunes can": Case(
        ONE, applied(ONE, **seen(h1=UP, h2=UP)), ["remove Agent h2"], options={"partial": True, "prune": True}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plan_of_a_site(name: str) -> None:
    case = CASES[name]
    plan = diff(case.desired, case.observed, **case.options)
    assert [f"{action.action} {action.kind} {action.name}" for action in plan.actions] == case.actions
    assert {action.site for action in plan.actions} <= {"sf"}
    for reason in case.reasons:
        assert reason in [action.reason for action in plan.actions]
    assert [text.startswith(start) for text, start in zip(plan.passed_over, case.passed_over, strict=True)] == [
        True for _ in case.passed_over
    ]
    assert plan.records == (("sf",) if case.records else ())
    assert plan.unknown == (("sf",) if case.unknown else ())
    assert plan.bases == {"sf": case.observed.number}


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].unknown and not CASES[name].passed_over])
def test_a_plan_after_its_apply_is_empty(name: str) -> None:
    plan = diff(CASES[name].desired, CASES[name].observed)
    assert diff(plan.desired, applied(plan.desired)).noop


def local(*names: str) -> PolicySet:
    sources = tuple(source(name, "local") for name in names)
    groups = sorted({each.group for each in sources})
    return PolicySet(
        documents=tuple(document("ProtectionGroup", name) for name in groups),
        groups=tuple(ProtectionGroup(name, "local", ("localhost",), (), ()) for name in groups),
        sources=sources,
    )


def together(*sets: PolicySet) -> PolicySet:
    return PolicySet(
        documents=tuple(each for one in sets for each in one.documents),
        sites=tuple(each for one in sets for each in one.sites),
        groups=tuple(each for one in sets for each in one.groups),
        sources=tuple(each for one in sets for each in one.sources),
        agents={site: hosts for one in sets for site, hosts in one.agents.items()},
    )


def test_each_site_records_what_concerns_it() -> None:
    gold, boston = document("RetentionPolicy", "gold"), document("Site", "boston")
    here, there = local("l/localhost/files"), policies("a/h1/files")
    copied = replace(there.groups[0], replicate=(Replication("boston", None, 1),), recovery=RecoveryTarget("boston"))
    whole = together(here, replace(there, groups=(copied,)), PolicySet(documents=(gold, boston), sites=(BOSTON,)))
    assert sites_of(whole) == ["local", "boston", "sf"]
    assert [each.key for each in part_of(whole, "local").documents] == ["ProtectionGroup/l", "RetentionPolicy/gold"]
    part = part_of(whole, "sf")
    assert [each.key for each in part.documents] == [
        "Site/sf", "ProtectionGroup/a", "RetentionPolicy/gold", "Site/boston",
    ]  # fmt: skip
    assert ([str(each.address) for each in part.sources], dict(part.agents)) == (["a/h1/files"], {"sf": ("h1",)})
    assert part_of(together(there, PolicySet(documents=(gold,))), "local") == PolicySet()
    assert sites_of(PolicySet(documents=(gold,))) == ["local"]


def planned(desired: PolicySet, *observed: Observed) -> Plan:
    return merged([diff(part_of(desired, each.site), each) for each in observed], desired)


def test_a_plan_over_several_sites_keeps_their_bases_and_counts_guards_over_all() -> None:
    before = local(*(f"l{number}/localhost/files" for number in range(6)))
    record = before.as_json()
    here = Observed(7, record["documents"], record["sources"], Process(RUNNING, "1"), Process(RUNNING, "1"), "1")
    there = applied(policies("a/h1/files", "b/h1/files", "c/h1/files"))
    plan = planned(together(before, policies("a/h1/files", "b/h1/files")), here, there)
    assert plan.bases == {"local": 7, "sf": 4} and plan.base == 7
    assert {action.site for action in plan.actions} == {"sf"}
    assert plan.guard.stops == ("c/h1/files",) and not plan.guard.needed  # one of nine, though one of sf's three
    check_guards(plan)

    plan = planned(together(local("l1/localhost/files"), policies("a/h1/files", "b/h1/files")), here, there)
    assert plan.guard.sources == 6
    with pytest.raises(Refused, match="stops protecting 6 sources of 9") as caught:
        check_guards(plan)
    assert "--confirm 6" in caught.value.hint
    check_guards(plan, confirm=6)


def test_a_group_that_moves_to_another_site_begins_there_and_stops_here() -> None:
    record = local("a/localhost/files").as_json()
    here = Observed(1, record["documents"], record["sources"], Process(RUNNING, "1"), Process(RUNNING, "1"), "1")
    plan = planned(policies("a/h1/files"), here, NOTHING)
    assert [(action.site, action.action, action.name) for action in plan.actions if action.kind == "Source"] == [
        ("local", "remove", "a/localhost/files"),
        ("sf", "create", "a/h1/files"),
    ]


def test_what_can_not_be_carried_out_is_refused_before_anything_is_done() -> None:
    assert "remote stores" in cannot_carry_out(BOSTON)
    assert "inventory" in cannot_carry_out(replace(SF, inventory=""))
    assert cannot_carry_out(SF) == ""
    plan = merged([diff(ONE, NOTHING)], ONE, ["site boston can't be carried out: why"])
    with pytest.raises(Refused, match="site boston can't be carried out: why") as caught:
        check_guards(plan)
    assert "bcsctl apply FILE" in caught.value.hint


def test_an_apply_moves_no_journal() -> None:
    refuse_to_move(SF, {})
    refuse_to_move(SF, {"Site/sf": {"spec": SPEC}})
    for moved in (replace(SF, storage=Storage("file:///k", 5_000)), replace(SF, nodes=(SiteNode("n2", "https://n2"),))):
        with pytest.raises(Refused, match="site sf has its journal at n1 in file:///j, not at"):
            refuse_to_move(moved, {"Site/sf": {"spec": SPEC}})
