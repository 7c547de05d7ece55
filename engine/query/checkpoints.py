"""The checkpoints that a stream has, by their names."""

from __future__ import annotations

from engine.format.names import CheckpointName, checkpoints_prefix, parse_checkpoint
from engine.journal.open import Journal


def checkpoints(journal: Journal, stream: str) -> list[CheckpointName]:
    """All checkpoints of a stream, by LSN and generation, ascending: the last one is the one to use."""
    listed = (parse_checkpoint(item.key) for item in journal.store.list(checkpoints_prefix(stream)))
    found = [name for name in listed if name is not None]
    return sorted(found, key=lambda name: (name.position.lsn, name.generation, name.position.epoch))
