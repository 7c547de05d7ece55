"""The jobs of a node: merging young segments, making checkpoints. What is due is decided elsewhere."""

from __future__ import annotations

from engine.journal import merge
from engine.node.jobs import Job
from engine.node.parts import Parts
from engine.query import checkpoint
from engine.query.session import Session

MERGE_EVERY_SECONDS = 5.0
CHECKPOINT_EVERY_SECONDS = 30.0


def jobs_of(parts: Parts) -> list[Job]:
    """The jobs bound to a node's parts."""

    def merge_segments() -> object:
        return merge.merge_due(parts.journal, parts.clock)

    def make_checkpoints() -> object:
        with Session(parts.journal) as session:
            return checkpoint.make_due(session, parts.clock.now())

    return [
        Job("merging segments", MERGE_EVERY_SECONDS, merge_segments),
        Job("making checkpoints", CHECKPOINT_EVERY_SECONDS, make_checkpoints),
    ]
