"""What Prometheus reads: every metric as it is described, from a node that has something of everything."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from engine.model.times import DAY, SECOND
from engine.node.monitoring.hosts import Certified
from engine.node.monitoring.measuring import journal_size
from engine.node.monitoring.metric_names import COUNTER, METRICS
from engine.node.monitoring.metrics_now import VERSIONS_MAX
from tests.nodes import InProcessNode, Writer, apply, file_of, source
from tests.unit.engine.node.conftest import TurnedClock

CONVENTION = re.compile(r"bcs_[a-z]+(_[a-z]+)*")


def samples(node: InProcessNode) -> dict[tuple[str, ...], float]:
    """{(name, label values...): value}."""
    answer = node.call("GET", "/metrics")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    found: dict[tuple[str, ...], float] = {}
    for family in parse(answer.text.decode()):
        for sample in family.samples:
            labels = METRICS[sample.name].labels if sample.name in METRICS else sample.labels
            found[(sample.name, *(sample.labels[label] for label in labels))] = sample.value
    return found


def busy(node: InProcessNode, clock: TurnedClock) -> Writer:
    """A source that is protected, one that never was, a refusal, a check, a round of GitOps, a certificate."""
    writer = Writer(node, "g/h1/files", host="h1").protect()
    writer.send(file_of(b"x" * 1000, kind="baseline", at=clock.at - SECOND))
    told = {"stream": writer.stream, "state": "protected", "through_at": clock.at, "pending": 7, "unreadable": 2}
    told |= {"bytes_read": 3000, "bytes_changed": 1000, "bytes_sent": 400}
    told |= {"mechanism": "fanotify", "ranges": "magic", "spool_bytes": 500}
    told |= {"pending_big_files": 2, "pending_big_bytes": 9000}
    usage = {"memory_bytes": 50, "memory_limit_bytes": 100, "cpu_seconds": 1.5, "cache_bytes": 7}
    usage |= {"spool_bytes": 500, "spool_limit_bytes": 1000, "bandwidth": 4096}
    body = {
        "sources": [told],
        "generation": node.parts.desired.generation,
        "version": "0.1.0",
        "clock_skew": -1_500_000,
        "usage": usage,
    }
    assert node.call("POST", "/v1/agents/h1/status", body).status == 200
    apply(node, source("g/h2/files"))
    assert writer.post(b"nonsense").status == 422
    assert node.call("POST", "/v1/sync", {"state": "failed", "message": "no"}).status == 201
    certified = Certified("0a", clock.at + DAY)
    node.parts.certified = lambda: {"h1": certified}
    node.parts.journal_size = journal_size(node.parts.journal)
    assert node.parts.watch is not None
    node.parts.audit.act("check", "ann", {"errors": 0})
    node.parts.audit.act("drill", "ann", DRILL)
    node.parts.metrics.notifications.labels("webhook", "delivered").inc()
    clock.at += SECOND
    node.parts.watch.look()
    return writer


DRILL = {"group": "g", "drill": None, "policy": {"digest": "of other policies"}, "passed": True, "seconds": 2.0}
DRILL |= {"rto_seconds": 1.5, "rpo_seconds": 0.25}


def test_values(node: InProcessNode, clock: TurnedClock) -> None:
    busy(node, clock)
    found = samples(node)
    h1 = ("g", "h1", "files")
    assert (found["bcs_sources",], found["bcs_sources_protected",]) == (2, 1)
    assert (found[("bcs_source_protected", *h1)], found["bcs_source_protected", "g", "h2", "files"]) == (1, 0)
    assert found[("bcs_source_synced", *h1)] == 0  # other policies came since
    assert found[("bcs_source_lag_seconds", *h1)] == 1.0
    assert found[("bcs_source_rpo_seconds", *h1)] == 5.0
    assert found[("bcs_source_pending_changes", *h1)] == 7
    assert found[("bcs_source_unreadable_paths", *h1)] == 2
    assert found[("bcs_source_read_bytes_total", *h1)] == 3000
    assert found[("bcs_source_changed_bytes_total", *h1)] == 1000
    assert found[("bcs_source_sent_bytes_total", *h1)] == 400
    assert 0 < found[("bcs_source_stored_bytes_total", *h1)] < 1000 == len(b"x" * 1000)
    assert found[("bcs_source_spool_bytes", *h1)] == 500
    assert (found[("bcs_source_pending_big_files", *h1)], found[("bcs_source_pending_big_bytes", *h1)]) == (2, 9000)
    assert found[("bcs_source_watch_info", *h1, "fanotify")] == 1
    assert found[("bcs_source_ranges_info", *h1, "other")] == 1  # a word that this node does not know
    assert found["bcs_agent_info", "h1", "0.1.0"] == 1
    assert (found["bcs_agent_memory_bytes", "h1"], found["bcs_agent_memory_limit_bytes", "h1"]) == (50, 100)
    assert (found["bcs_agent_spool_bytes", "h1"], found["bcs_agent_spool_limit_bytes", "h1"]) == (500, 1000)
    assert (found["bcs_agent_cpu_seconds_total", "h1"], found["bcs_agent_cache_bytes", "h1"]) == (1.5, 7)
    assert found["bcs_agent_bandwidth_limit_bytes_per_second", "h1"] == 4096
    assert found[("bcs_source_condition", "g", "h2", "files", "never-seen")] == 1
    assert ("bcs_source_lag_seconds", "g", "h2", "files") not in found
    assert found["bcs_host_state", "h2", "never-seen"] == 1
    assert found["bcs_agents", "0.1.0"] == 1
    assert found["bcs_agent_heard_age_seconds", "h1"] == 1.0
    assert found["bcs_agent_clock_skew_seconds", "h1"] == -1.5
    assert found["bcs_certificate_not_after_timestamp_seconds", "h1"] == (clock.at - SECOND + DAY) / 1e6
    assert found["bcs_ingest_batches_total", "g"] == 1
    assert found["bcs_ingest_events_total", "g"] >= 3
    assert 0 < found["bcs_ingest_bytes_total", "g"] < 1000
    assert found["bcs_acknowledge_seconds_count",] == 1
    assert found["bcs_commit_seconds_count",] >= 2  # the audit's too
    assert found["bcs_refusals_total", "batch-refused", "malformed"] == 1
    assert found["bcs_journal_objects", "L0"] >= 2 and found["bcs_journal_bytes", "packs"] > 0
    assert found["bcs_journal_disk_free_bytes",] < found["bcs_journal_disk_size_bytes",]
    assert found["bcs_policies_number",] == 2
    assert found["bcs_policy_sync_failing",] == 1 and found["bcs_policy_sync_failures_total",] == 1
    assert found["bcs_check_last_errors",] == 0
    assert found["bcs_alerts", "apply-failed"] == 1
    assert (found["bcs_drill_last_passed", "g"], found["bcs_drill_last_rto_seconds", "g"]) == (1, 1.5)
    assert (found["bcs_drill_state", "g", "none"], found["bcs_drill_last_rpo_seconds", "g"]) == (1, 0.25)
    assert found["bcs_notifications_total", "webhook", "delivered"] == 1
    assert found["bcs_node_info", node.parts.name, "local", "0.0-test"] == 1
    assert found["process_resident_memory_bytes",] > 1e6


def test_each_metric_is_there_as_it_is_described(node: InProcessNode, clock: TurnedClock) -> None:
    busy(node, clock)
    families = {family.name: family for family in parse(node.call("GET", "/metrics").text.decode())}
    own = {name: family for name, family in families.items() if name.startswith("bcs_")}
    assert {_shown(family) for family in own.values()} == set(METRICS)
    for family in own.values():
        metric = METRICS[_shown(family)]
        assert (family.type, family.documentation) == (metric.type, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample


def test_the_names_follow_the_conventions() -> None:
    for name, metric in METRICS.items():
        assert CONVENTION.fullmatch(name) and metric.help.endswith(".")
        assert name.endswith("_total") == (metric.type == COUNTER)
        assert not re.search(r"_(ms|us|milliseconds|minutes|days|percent|kib|mib)(_|$)", name)
        assert "\n" not in metric.help and len(metric.labels) <= 4


def test_openmetrics_for_those_who_want_it(node: InProcessNode, clock: TurnedClock) -> None:
    busy(node, clock)
    answer = node.call("GET", "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith(b"# EOF\n")
    assert {family.name for family in openmetrics(answer.text.decode())} >= {"bcs_sources", "bcs_ingest_batches"}


def test_a_new_node_has_metrics_too(node: InProcessNode) -> None:
    found = samples(node)
    assert found["bcs_sources",] == 0
    assert found["bcs_policies_number",] == 0


def test_promtool_agrees(node: InProcessNode, clock: TurnedClock) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not there (Debian: prometheus)")
    busy(node, clock)
    text = node.call("GET", "/metrics").text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "wrong",
    [{"cpu_seconds": "much"}, {"cpu_seconds": -1}, {"cpu_seconds": True}, {"cpu_seconds": 1, "spool_bytes": -5}, []],
)
def test_what_an_agent_says_of_itself_is_read_strictly(node: InProcessNode, wrong: object) -> None:
    answer = node.call("POST", "/v1/agents/h1/status", {"sources": [], "usage": wrong})
    assert answer.status == 400 if wrong else answer.status in (200, 400)


def test_what_agents_call_themselves_stays_few(node: InProcessNode) -> None:
    for number in range(VERSIONS_MAX + 30):
        name = f'v"{number}\\\n\udce9'
        assert node.call("POST", f"/v1/agents/h{number}/hello", {"version": name}).status == 200
    assert node.call("POST", "/v1/agents/again/hello", {"version": 'v"3\\\n\udce9'}).status == 200
    found = samples(node)
    versions = {name: value for name, value in found.items() if name[0] == "bcs_agents"}
    assert len(versions) == VERSIONS_MAX + 1
    assert sum(versions.values()) == VERSIONS_MAX + 31
    assert versions["bcs_agents", "other"] == 30


def test_refusals_are_counted_beyond_what_is_recorded(node: InProcessNode) -> None:
    writer = Writer(node, "g/h1/files", host="h1").protect()
    for _ in range(40):
        writer.post(b"nonsense")
    assert samples(node)["bcs_refusals_total", "batch-refused", "malformed"] == 40


@pytest.mark.parametrize("accept", ["*/*", "nonsense", ""])
def test_whatever_is_accepted_there_is_an_answer(node: InProcessNode, accept: str) -> None:
    assert node.call("GET", "/metrics", headers={"accept": accept}).status == 200


def _shown(family: Metric) -> str:
    """A family's name as Prometheus shows it."""
    return f"{family.name}_total" if family.type == COUNTER and not family.name.endswith("_total") else str(family.name)
