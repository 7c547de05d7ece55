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
DRILLS_EVERY_SECONDS = 2.0


def jobs_of(parts: Parts) -> list[Job]:
    """The jobs bound to a node's parts."""
    return [
        Job("merging segments", MERGE_EVERY_SECONDS, lambda: merge_segments(parts)),
        Job("making checkpoints", CHECKPOINT_EVERY_SECONDS, lambda: make_checkpoints(parts)),
        Job("counting refusals", FLUSH_EVERY_SECONDS, parts.audit.flush),
        Job("measuring the journal", MEASURE_EVERY_SECONDS, lambda: measure_journal(parts)),
        Job("making drills", DRILLS_EVERY_SECONDS, lambda: make_drills(parts)),
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


def make_drills(parts: Parts) -> str:
    """Begin the drill that is due, if any; its group. None begins while a restore that this node sends is open."""
    desired, facts = parts.desired, parts.facts
    by_group: dict[str, list[tuple[str, str]]] = {}
    for address, source in list(desired.sources.items()):
        by_group.setdefault(address.split("/")[0], []).append((address, source["stream"]))
    now = parts.clock.now()

    def since(group: str) -> int:
        return max((desired.since.get(address, 0) for address, _ in by_group.get(group, ())), default=now)

    def ready(group: str) -> bool:
        streams = [stream for _, stream in by_group.get(group, ())]
        return bool(streams) and all(facts.stored(each, now, delays=False).point is not None for each in streams)

    def held_up() -> bool:
        return any(each.end is None for each in list(parts.restores.known.values()))

    return parts.drills.work(since, ready, held_up) if parts.drills is not None else ""


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
