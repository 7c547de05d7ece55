"""What a node counts as it works: batches, commits, acknowledgements, tries to notify. Everything else is looked up
when it is asked for (`engine.node.monitoring.metrics_now`)."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from engine.env.clock import Clock
from engine.node.desired import Desired
from engine.node.monitoring.metric_names import METRICS, SECONDS_BUCKETS
from engine.wire.batch import Batch

OTHER_GROUP = "_other"
"""Batches of streams that the policies name no more, and of the node's own audit stream."""

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counters and histograms of one node; safe to use from any thread."""

    def __init__(self, clock: Clock, desired: Desired) -> None:
        self._clock, self._desired = clock, desired
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self._batches = self._counter("bcs_ingest_batches_total")
        self._events = self._counter("bcs_ingest_events_total")
        self._bytes = self._counter("bcs_ingest_bytes_total")
        self.notifications = self._counter("bcs_notifications_total")
        self.acknowledged = self._histogram("bcs_acknowledge_seconds")
        self._commits = self._histogram("bcs_commit_seconds")

    def committed(self, begun_at: int, batches: Sequence[Batch]) -> None:
        """A commit that began at `begun_at`, microseconds, is durable now."""
        self._commits.observe(max(0, self._clock.now() - begun_at) / 1e6)
        for batch in batches:
            address = self._desired.address(batch.stream)
            group = address.split("/")[0] if address else OTHER_GROUP
            self._batches.labels(group).inc()
            self._events.labels(group).inc(batch.lsn_last - batch.lsn_first + 1)
            self._bytes.labels(group).inc(sum(len(frame.data) for frame in batch.frames))

    def _counter(self, name: str) -> Counter:
        metric = METRICS[name]
        return Counter(name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, name: str) -> Histogram:
        metric = METRICS[name]
        return Histogram(name, metric.help, metric.labels, registry=self.registry, buckets=SECONDS_BUCKETS)
