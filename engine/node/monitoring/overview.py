"""The status of the whole site, out of a running node's parts. May be called from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.model.times import format_time
from engine.node.audit import AUDIT_GROUP
from engine.node.monitoring.hosts import Certified, Heard, host_status
from engine.node.monitoring.status import source_status
from engine.node.monitoring.summary import answer, host_of, summary
from engine.node.parts import Agent, Parts
from engine.plan.drills import NONE, Standing

Shown = Callable[[str], bool]
"""Whether a group of this name may be seen by whoever asks."""


def site_status(parts: Parts, shown: Shown = lambda group: True, *, delays: bool = True) -> dict[str, Any]:
    """Every source of the applied policies on its three axes, by group; every host; and one sentence on all of it.

    `delays` leaves out `durable_lag_ms`, for those who ask often.
    """
    now = parts.clock.now()
    certified = parts.certified()
    rows = _rows(parts, certified, shown, now, delays)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["address"].split("/")[0], []).append(row)
    drills = parts.drills
    listed = [
        {"name": name, "sources": of_group, "drill": drills.as_json(name) if drills else None}
        for name, of_group in groups.items()
    ]
    return {
        "at": format_time(now),
        "node": parts.name,
        "policies": parts.desired.number,
        "answer": answer(listed),
        "summary": summary(listed),
        "hosts": _hosts(parts, rows, certified, shown, now),
        "groups": listed,
    }


def _rows(
    parts: Parts, certified: Mapping[str, Certified], shown: Shown, now: int, delays: bool
) -> list[dict[str, Any]]:
    desired = parts.desired
    rows = []
    standings: dict[str, Standing] = {}
    for address, source in sorted(desired.sources.items()):
        group, host, _ = address.split("/")
        if not shown(group):
            continue
        of_host = certified.get(host)
        rows.append(
            source_status(
                address,
                source,
                parts.reports.get(source["stream"]),
                parts.facts.stored(source["stream"], now, delays=delays),
                desired.sources_generation,
                now,
                refused_since=of_host.refused_since(now) if of_host else None,
                expected_since=desired.since.get(address) or None,
                drilled=_standing(parts, standings, group),
            )
        )
    return rows


def _standing(parts: Parts, known: dict[str, Standing], group: str) -> Standing:
    """What the drills make of a group, worked out once."""
    if group not in known:
        known[group] = parts.drills.standing(group) if parts.drills is not None else Standing(NONE)
    return known[group]


def _hosts(
    parts: Parts, rows: list[dict[str, Any]], certified: Mapping[str, Certified], shown: Shown, now: int
) -> list[dict[str, Any]]:
    """Hosts of the sources that are shown; and, for those who see all of the site, those that have none of them."""
    of_host: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        of_host.setdefault(host_of(row), []).append(row)
    agents = dict(parts.agents)
    if shown(AUDIT_GROUP):  # nobody is shown that who doesn't see everything
        for host in (*agents, *certified, *parts.desired.agents):
            if host in parts.desired.agents or not _removed(certified.get(host)):
                of_host.setdefault(host, [])
    return [
        host_status(host, of_host[host], _heard(agents.get(host)), certified.get(host), now) for host in sorted(of_host)
    ]


def _removed(certified: Certified | None) -> bool:
    """Whether a host that no policy names has been shut out, as an apply does that removes it: nothing of it is amiss,
    and `bcsctl certificate list` has it."""
    return certified is not None and certified.revoked_at is not None


def _heard(agent: Agent | None) -> Heard | None:
    if agent is None:
        return None
    return Heard(agent.heard_at, agent.version, agent.mechanism, agent.clock_skew, agent.settings, agent.usage)
