"""What a node does with the news of a commit: counts it, and tells the log which batches it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.env.clock import Clock
from engine.node.log import BATCH_DIGITS, DEBUG, INFO, SLOW_SECONDS, log, log_failure, wanted
from engine.node.monitoring.metrics import Metrics
from engine.wire.batch import Batch

SHOWN_MAX = 100


def noted(metrics: Metrics, clock: Clock) -> Callable[[int, Sequence[Batch]], None]:
    """What the committer calls once a commit is durable. Never raises: it is called where commits are published."""

    def committed(begun_at: int, batches: Sequence[Batch]) -> None:
        try:
            metrics.committed(begun_at, batches)
            _tell(max(0, clock.now() - begun_at) / 1e6, batches, clock)
        except Exception as error:
            log_failure("counting a commit", error, clock)

    return committed


def _tell(seconds: float, batches: Sequence[Batch], clock: Clock) -> None:
    level = INFO if seconds > SLOW_SECONDS and batches else DEBUG
    if not wanted(level):
        return
    named = ",".join(batch.hash.hex()[:BATCH_DIGITS] for batch in batches[:SHOWN_MAX])
    log("commit durable", clock, level=level, batches=named, count=len(batches), seconds=round(seconds, 3))
