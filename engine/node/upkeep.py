"""The jobs of a node: merging young segments, making checkpoints, counting refusals. What is due is decided elsewhere.

What is damaged is left as it is, stops nothing else from being done, and is told.
"""

from __future__ import annotations

from engine.journal import merge
from engine.model.errors import BcsError
from engine.node.callers.certificates import REFRESH_SECONDS as REVOCATIONS_SECONDS
from engine.node.callers.users import REFRESH_SECONDS
from engine.node.jobs import Job
from engine.node.monitoring.measuring import journal_size
from engine.node.network.server_certificate import ServerCertificate
from engine.node.parts import Parts
from engine.query import checkpoint
from engine.query.session import Session

MERGE_EVERY_SECONDS = 5.0
CHECKPOINT_EVERY_SECONDS = 30.0
FLUSH_EVERY_SECONDS = 10.0
MEASURE_EVERY_SECONDS = 60.0
OWN_CERTIFICATE_SECONDS = 1.0
MARKS_SECONDS = 1.0


def jobs_of(parts: Parts) -> list[Job]:
    """The jobs bound to a node's parts."""
    return [
        Job("merging segments", MERGE_EVERY_SECONDS, lambda: merge_segments(parts)),
        Job("making checkpoints", CHECKPOINT_EVERY_SECONDS, lambda: make_checkpoints(parts)),
        Job("counting refusals", FLUSH_EVERY_SECONDS, parts.audit.flush),
        Job("measuring the journal", MEASURE_EVERY_SECONDS, lambda: measure_journal(parts)),
    ]


def identity_jobs(parts: Parts, own: ServerCertificate | None) -> list[Job]:
    """The jobs that may wait for no other: what was revoked at other nodes, and the node's own certificate."""
    jobs = [
        Job("reading tokens", REFRESH_SECONDS, parts.users.refresh),
        Job("keeping marks", MARKS_SECONDS, lambda: parts.kept_marks.write(dict(parts.desired.marks))),
    ]
    if parts.certificates is not None:
        jobs.append(Job("reading revocations", REVOCATIONS_SECONDS, parts.certificates.refresh))
    if own is not None:
        jobs.append(Job("renewing the node's certificate", OWN_CERTIFICATE_SECONDS, own.renew_if_due))
    return jobs


def measure_journal(parts: Parts) -> None:
    """How large the journal is now, for the metrics."""
    parts.journal_size = journal_size(parts.journal)


def merge_segments(parts: Parts) -> merge.Merged:
    """One round of merging and sweeping. Raises Damaged, once all else is done, for what could not be merged."""
    merged = merge.merge_due(parts.journal, parts.clock)
    if merged.damaged:
        raise merged.damaged[0]
    return merged


def make_checkpoints(parts: Parts) -> list[str]:
    """The checkpoints that are due; their keys. Raises the first stream's error, once all others have theirs."""
    made: list[str] = []
    failed: list[BcsError] = []
    with Session(parts.journal) as session:
        for stream in sorted(session.held.ranges):
            try:
                key = checkpoint.make_if_due(session, stream, parts.clock.now())
            except BcsError as error:
                failed.append(error)
                continue
            if key:
                made.append(key)
    if failed:
        raise failed[0]
    return made
