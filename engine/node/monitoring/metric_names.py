"""Every metric of a node: name, type, meaning, labels. docs/metrics.md is made of it. Pure.

Names as Prometheus would have them (https://prometheus.io/docs/practices/naming/): base units, counters in `_total`.
Labels hold only what the policies name, and words of which there are few: no path, nothing a stranger sends.
"""

from __future__ import annotations

from dataclasses import dataclass

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SOURCE = ("group", "host", "source")


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as Prometheus shows it, a counter's with `_total`."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Metrics that belong together."""

    title: str
    metrics: tuple[Metric, ...]


PARTS = (
    Part(
        "Sources",
        (
            Metric("bcs_sources", GAUGE, "Sources that the applied policies name."),
            Metric("bcs_sources_protected", GAUGE, "Sources whose data is within its objective now."),
            Metric("bcs_source_protected", GAUGE, "1 if the source's data is within its objective.", SOURCE),
            Metric("bcs_source_synced", GAUGE, "1 if the agent works by the applied policies; 0 is drift.", SOURCE),
            Metric(
                "bcs_source_condition",
                GAUGE,
                "1 for the one word that holds of the source: protected, unproven, catching-up, baseline, lagging, "
                "unprotected, failing, silent, never-seen, refused.",
                (*SOURCE, "condition"),
            ),
            Metric(
                "bcs_source_lag_seconds",
                GAUGE,
                "How long ago the source was last known to be complete in the journal; none before its first point.",
                SOURCE,
            ),
            Metric("bcs_source_rpo_seconds", GAUGE, "How far the source may lag by its policy.", SOURCE),
            Metric("bcs_source_gaps_total", COUNTER, "Closed gaps in the source's history and beside it.", SOURCE),
            Metric("bcs_source_gap_open", GAUGE, "1 while a gap is open.", SOURCE),
            Metric("bcs_source_pending_changes", GAUGE, "Changes that the agent knows of and has not sent.", SOURCE),
            Metric("bcs_source_read_bytes_total", COUNTER, "Bytes that the agent read of the source's files.", SOURCE),
            Metric(
                "bcs_source_changed_bytes_total",
                COUNTER,
                "Bytes that had changed: ranges where the agent still had the old bytes, else whole blocks.",
                SOURCE,
            ),
            Metric(
                "bcs_source_sent_bytes_total",
                COUNTER,
                "Bytes of batches that the agent sent, repeated ones too.",
                SOURCE,
            ),
            Metric("bcs_source_stored_bytes_total", COUNTER, "Bytes that the source's content took in packs.", SOURCE),
            Metric("bcs_source_pending_big_files", GAUGE, "Big files that wait to be read.", SOURCE),
            Metric("bcs_source_pending_big_bytes", GAUGE, "Bytes of big files that wait to be read.", SOURCE),
            Metric("bcs_source_spool_bytes", GAUGE, "Bytes that wait on the host's disk.", SOURCE),
            Metric(
                "bcs_source_watch_info",
                GAUGE,
                "1; the label says what watches the source: fanotify, fanotify-directories, inotify, scan.",
                (*SOURCE, "mechanism"),
            ),
            Metric(
                "bcs_source_ranges_info",
                GAUGE,
                "1; the label says what tells which bytes of a file changed: trace, clone, or none.",
                (*SOURCE, "mechanism"),
            ),
            Metric("bcs_source_unreadable_paths", GAUGE, "Paths that the agent can't read: not protected.", SOURCE),
        ),
    ),
    Part(
        "Hosts and agents",
        (
            Metric("bcs_agents", GAUGE, "Agents that were heard since the node started, by version.", ("version",)),
            Metric("bcs_host_state", GAUGE, "1 for the state that `bcsctl status --hosts` shows.", ("host", "state")),
            Metric("bcs_agent_heard_age_seconds", GAUGE, "How long ago the agent was last heard.", ("host",)),
            Metric(
                "bcs_agent_clock_skew_seconds",
                GAUGE,
                "How far the host's wall clock is ahead of the site's; nothing depends on it.",
                ("host",),
            ),
            Metric("bcs_agent_info", GAUGE, "1; the labels say which version runs on the host.", ("host", "version")),
            Metric("bcs_agent_memory_bytes", GAUGE, "Resident memory of the agent.", ("host",)),
            Metric("bcs_agent_memory_limit_bytes", GAUGE, "What its service may use by the policies.", ("host",)),
            Metric("bcs_agent_cpu_seconds_total", COUNTER, "Processor time of the agent since it began.", ("host",)),
            Metric("bcs_agent_cache_bytes", GAUGE, "Memory in which the agent keeps old contents.", ("host",)),
            Metric("bcs_agent_spool_bytes", GAUGE, "Bytes that wait on the host's disk, of all sources.", ("host",)),
            Metric("bcs_agent_spool_limit_bytes", GAUGE, "How many may wait there by the policies.", ("host",)),
            Metric(
                "bcs_agent_bandwidth_limit_bytes_per_second",
                GAUGE,
                "The bound on what the agent sends that holds now; none while there is none.",
                ("host",),
            ),
            Metric(
                "bcs_certificate_not_after_timestamp_seconds",
                GAUGE,
                "When the host's newest certificate ends.",
                ("host",),
            ),
            Metric("bcs_certificate_revoked", GAUGE, "1 if the host's newest certificate was revoked.", ("host",)),
        ),
    ),
    Part(
        "Ingest",
        (
            Metric("bcs_ingest_batches_total", COUNTER, "Batches made durable since the node started.", ("group",)),
            Metric("bcs_ingest_events_total", COUNTER, "Events made durable since the node started.", ("group",)),
            Metric("bcs_ingest_bytes_total", COUNTER, "Bytes of content made durable, as compressed.", ("group",)),
            Metric("bcs_acknowledge_seconds", HISTOGRAM, "From a whole batch's arrival to its acknowledgement."),
            Metric("bcs_commit_seconds", HISTOGRAM, "From a commit's beginning to its being durable."),
            Metric(
                "bcs_refusals_total",
                COUNTER,
                "Requests refused since the node started: what was refused, and which sort of refusal.",
                ("what", "kind"),
            ),
        ),
    ),
    Part(
        "Journal and policies",
        (
            Metric("bcs_journal_bytes", GAUGE, "Bytes in the journal, measured each minute.", ("area",)),
            Metric("bcs_journal_objects", GAUGE, "Objects in the journal, measured each minute.", ("area",)),
            Metric("bcs_journal_disk_free_bytes", GAUGE, "Free space where a local journal lies."),
            Metric("bcs_journal_disk_size_bytes", GAUGE, "Size of the file system that a local journal lies on."),
            Metric("bcs_policies_number", GAUGE, "Number of the policies that are applied."),
            Metric("bcs_policies_applied_timestamp_seconds", GAUGE, "When they were applied."),
            Metric("bcs_policy_sync_rounds_total", COUNTER, "Rounds of the GitOps loop since the node started."),
            Metric("bcs_policy_sync_drift_total", COUNTER, "Rounds that brought back what had changed."),
            Metric("bcs_policy_sync_failures_total", COUNTER, "Rounds that failed."),
            Metric("bcs_policy_sync_failing", GAUGE, "1 if the last round failed."),
            Metric("bcs_policy_sync_last_round_timestamp_seconds", GAUGE, "When the loop was last heard of."),
            Metric("bcs_check_last_timestamp_seconds", GAUGE, "When the journal was last checked."),
            Metric("bcs_check_last_errors", GAUGE, "Errors that this check found."),
        ),
    ),
    Part(
        "Drills",
        (
            Metric(
                "bcs_drill_state",
                GAUGE,
                "1 for the state of the group's drills: passed, failed, void, stale, never, none.",
                ("group", "state"),
            ),
            Metric("bcs_drill_last_timestamp_seconds", GAUGE, "When the group's last drill ended.", ("group",)),
            Metric("bcs_drill_last_passed", GAUGE, "1 if the group's last drill passed.", ("group",)),
            Metric(
                "bcs_drill_last_rto_seconds",
                GAUGE,
                "How long it took from its beginning until all sources were back; none if not all were.",
                ("group",),
            ),
            Metric(
                "bcs_drill_last_rpo_seconds",
                GAUGE,
                "How much of the time before the moment that was asked for would have been lost.",
                ("group",),
            ),
        ),
    ),
    Part(
        "Notifications",
        (
            Metric(
                "bcs_notifications_total",
                COUNTER,
                "Tries to send a message since the node started: delivered, failed (and tried again), given-up.",
                ("to", "outcome"),
            ),
            Metric("bcs_notifications_waiting", GAUGE, "Messages that wait to be sent or sent again."),
            Metric("bcs_alerts", GAUGE, "What is the matter now, as Notifications count it.", ("event",)),
        ),
    ),
    Part(
        "The node",
        (Metric("bcs_node_info", GAUGE, "1; the labels say which node this is.", ("node", "site", "version")),),
    ),
)

METRICS = {metric.name: metric for part in PARTS for metric in part.metrics}


def tables() -> str:
    """The tables of docs/metrics.md."""
    return "".join(_table(part) for part in PARTS)


def _table(part: Part) -> str:
    lines = [f"\n## {part.title}\n", "| metric | type | labels | meaning |", "|---|---|---|---|"]
    for each in part.metrics:
        lines.append(f"| `{each.name}` | {each.type} | {', '.join(each.labels) or '-'} | {each.help} |")
    return "\n".join(lines) + "\n"
