"""Metrics that are looked up when they are asked for: the status of the site, its journal, its loop, its alerts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.model.times import parse_time
from engine.node.alerts.alerts_now import EVENTS
from engine.node.monitoring.metric_names import COUNTER, METRICS
from engine.node.monitoring.overview import site_status
from engine.node.monitoring.status import SAFE, TRAFFIC, WAITING
from engine.node.parts import Parts
from engine.node.reports import USAGE
from engine.plan.drills import NONE

VERSIONS_MAX = 20
KINDS_MAX = 100
OTHER = "other"
"""Versions and kinds of refusals beyond so many are counted as one: an agent may call itself what it likes."""

WATCHES = ("fanotify", "fanotify-directories", "inotify", "scan")
RANGES = ("trace", "clone", "none")
"""What agents call their mechanisms; other words of theirs are counted as one."""

Family = CounterMetricFamily | GaugeMetricFamily
_Row = Mapping[str, Any]


class Now(Collector):
    """Collects once a scrape. `version` is the node's."""

    def __init__(self, parts: Parts, version: str) -> None:
        self._parts, self._version = parts, version

    def collect(self) -> Iterator[Metric]:
        found = site_status(self._parts, delays=False)
        now = parse_time(found["at"], 0)
        families = Families()
        rows = [row for group in found["groups"] for row in group["sources"]]
        families.add("bcs_sources", len(rows))
        families.add("bcs_sources_protected", sum(row["protected"] in SAFE for row in rows))
        for row in rows:
            _source(families, row)
        versions = _versions(self._parts)
        for row in found["hosts"]:
            _host(families, row, now)
            if row["version"]:
                version = row["version"] if row["version"] in versions else OTHER
                families.add("bcs_agent_info", 1, row["host"], version)
        _agents(families, self._parts)
        _refusals(families, self._parts)
        _journal(families, self._parts)
        for group in found["groups"]:
            _drills(families, group)
        _policies(families, self._parts)
        _alerts(families, self._parts)
        families.add("bcs_node_info", 1, self._parts.name, self._parts.settings.site, self._version)
        return iter(families)


class Families:
    """Families by name, made as `engine.node.monitoring.metric_names` says when their first value comes."""

    def __init__(self) -> None:
        self._made: dict[str, Family] = {}

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._made.values())

    def add(self, name: str, value: float, *labels: str) -> None:
        """One value of a metric, with its labels in their order."""
        family = self._made.get(name)
        if family is None:
            metric = METRICS[name]
            kind = CounterMetricFamily if metric.type == COUNTER else GaugeMetricFamily
            family = self._made[name] = kind(name, metric.help, labels=metric.labels)
        family.add_metric([_text(each) for each in labels], float(value))


def _source(families: Families, row: _Row) -> None:
    group, host, source = row["address"].split("/")
    for name, value in (
        ("bcs_source_protected", row["protected"] in SAFE),
        ("bcs_source_synced", row["synced"] == "synced"),
        ("bcs_source_rpo_seconds", row["rpo_target_seconds"]),
        # An open one is not counted yet; one that a recovery has left beside the history still is.
        ("bcs_source_gaps_total", row["gaps"] + row["gaps_beside"] - (row["gap_open_since"] is not None)),
        ("bcs_source_gap_open", row["gap_open_since"] is not None),
        ("bcs_source_pending_changes", row["pending"]),
        ("bcs_source_unreadable_paths", row["unreadable"]),
        *((f"bcs_source_{name}", row[name]) for name in WAITING),
        ("bcs_source_lag_seconds", row["lag_seconds"]),
        *((f"bcs_source_{name.removeprefix('bytes_')}_bytes_total", row[name]) for name in TRAFFIC),
    ):
        if value is not None:
            families.add(name, value, group, host, source)
    families.add("bcs_source_condition", 1, group, host, source, row["condition"])
    if row["mechanism"]:
        families.add("bcs_source_watch_info", 1, group, host, source, _known(row["mechanism"], WATCHES))
        families.add("bcs_source_ranges_info", 1, group, host, source, _known(row["ranges"] or "none", RANGES))


def _drills(families: Families, group: _Row) -> None:
    told = group["drill"]
    if told is None or (told["state"] == NONE and told["last"] is None):
        return
    families.add("bcs_drill_state", 1, group["name"], told["state"])
    last = told["last"]
    if last is not None:
        families.add("bcs_drill_last_timestamp_seconds", parse_time(last["at"], 0) / 1e6, group["name"])
        families.add("bcs_drill_last_passed", last["passed"], group["name"])
        for name in ("rto_seconds", "rpo_seconds"):
            if last[name] is not None:
                families.add(f"bcs_drill_last_{name}", last[name], group["name"])


def _host(families: Families, row: _Row, now: int) -> None:
    host, certificate = row["host"], row["certificate"]
    families.add("bcs_host_state", 1, host, row["state"])
    if row["heard_at"] is not None:
        families.add("bcs_agent_heard_age_seconds", max(0, now - parse_time(row["heard_at"], 0)) / 1e6, host)
    if row["clock_skew_seconds"] is not None:
        families.add("bcs_agent_clock_skew_seconds", row["clock_skew_seconds"], host)
    if row["usage"] is not None:
        _usage(families, row["usage"], host)
    if certificate is not None:
        families.add("bcs_certificate_revoked", certificate["revoked_at"] is not None, host)
        if certificate["not_after"] is not None:
            ends = parse_time(certificate["not_after"], 0) / 1e6
            families.add("bcs_certificate_not_after_timestamp_seconds", ends, host)


def _usage(families: Families, usage: Mapping[str, Any], host: str) -> None:
    for name in (*USAGE, "cpu_seconds"):
        families.add(f"bcs_agent_{name}{'_total' if name == 'cpu_seconds' else ''}", usage[name], host)
    if usage["bandwidth_bytes_a_second"] is not None:
        families.add("bcs_agent_bandwidth_limit_bytes_per_second", usage["bandwidth_bytes_a_second"], host)


def _agents(families: Families, parts: Parts) -> None:
    for version, count in _versions(parts).items():
        families.add("bcs_agents", count, version)


def _versions(parts: Parts) -> dict[str, int]:
    """How many agents run which version."""
    return _bounded(Counter(agent.version or "unknown" for agent in list(parts.agents.values())), VERSIONS_MAX)


def _known(word: str, words: Collection[str]) -> str:
    return word if word in words else OTHER


def _refusals(families: Families, parts: Parts) -> None:
    counts = Counter({f"{what}\0{kind}": count for (what, kind), count in list(parts.audit.refused.items())})
    for name, count in _bounded(counts, KINDS_MAX).items():
        what, _, kind = name.partition("\0")
        families.add("bcs_refusals_total", count, what, kind)


def _journal(families: Families, parts: Parts) -> None:
    for area, (objects, size) in sorted(parts.journal_size.items()):
        families.add("bcs_journal_objects", objects, area)
        families.add("bcs_journal_bytes", size, area)
    try:
        disk = os.statvfs(parts.settings.journal)
    except OSError:
        return  # a store that is no directory, or one that is away: no number is better than a wrong one
    families.add("bcs_journal_disk_free_bytes", disk.f_bavail * disk.f_frsize)
    families.add("bcs_journal_disk_size_bytes", disk.f_blocks * disk.f_frsize)


def _policies(families: Families, parts: Parts) -> None:
    families.add("bcs_policies_number", parts.desired.number)
    if parts.desired.applied_at:
        families.add("bcs_policies_applied_timestamp_seconds", parts.desired.applied_at / 1e6)
    if parts.sync is not None:
        families.add("bcs_policy_sync_rounds_total", parts.sync.rounds)
        families.add("bcs_policy_sync_drift_total", parts.sync.drift)
        families.add("bcs_policy_sync_failures_total", parts.sync.failures)
        families.add("bcs_policy_sync_failing", parts.sync.state == "failed")
        families.add("bcs_policy_sync_last_round_timestamp_seconds", parts.sync.heard_at / 1e6)


def _alerts(families: Families, parts: Parts) -> None:
    watch = parts.watch
    if watch is None:
        return
    standing = watch.standing()
    for event in EVENTS:
        families.add("bcs_alerts", standing.get(event, 0), event)
    families.add("bcs_notifications_waiting", watch.waiting())
    checked = watch.last_check()
    if checked is not None:
        families.add("bcs_check_last_timestamp_seconds", checked.at / 1e6)
        families.add("bcs_check_last_errors", checked.errors)


def _bounded(counts: Counter[str], count_max: int) -> dict[str, int]:
    """The most frequent, and all others as one."""
    kept = dict(counts.most_common(count_max))
    rest = counts.total() - sum(kept.values())
    return {**kept, OTHER: kept.get(OTHER, 0) + rest} if rest else kept


def _text(value: str) -> str:
    """A label's value that can be encoded, and is not long."""
    return value.encode("utf-8", "backslashreplace").decode()[:200]
