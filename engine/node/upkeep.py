"""The jobs of a node: merging young segments, making checkpoints. What is due is decided elsewhere."""

from __future__ import annotations

from engine.node.jobs import Job
from engine.node.parts import Parts


def jobs_of(parts: Parts) -> list[Job]:
    """The jobs bound to a node's parts."""
    return []
