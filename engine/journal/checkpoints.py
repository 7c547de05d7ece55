"""Checkpoints as objects: what a stream has, what each says of itself, and putting a new one.

A checkpoint only saves work: the events that it folds stay in the segments. Its rows are built by
`engine.query.checkpoint`. docs/format.md, "Checkpoint", is the description.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

from engine.format import names, parquet
from engine.format.footer import METADATA_KEY
from engine.format.names import CheckpointName
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.model.ids import Position
from engine.model.lineage import Lineage, Span
from engine.store.base import AlreadyThere

VERSION = 1
GENERATION = 1


@dataclass(frozen=True, slots=True)
class CheckpointFooter:
    """What a checkpoint says of itself. `at` is the site time of its point, microseconds; `line` the lineage that was
    folded, cut at `position`; `previous` the checkpoint that it was built from, "" for none."""

    stream: str
    position: Position
    at: int
    line: Lineage
    previous: str


def checkpoints(journal: Journal, stream: str) -> list[CheckpointName]:
    """All checkpoints of a stream, by LSN and generation: the last one on a lineage is the one to use."""
    listed = (names.parse_checkpoint(item.key) for item in journal.store.list(names.checkpoints_prefix(stream)))
    found = [name for name in listed if name is not None]
    return sorted(found, key=lambda name: (name.position.lsn, name.generation, name.position.epoch))


def read_footer(journal: Journal, name: CheckpointName) -> CheckpointFooter:
    """A checkpoint's footer, from a file whose content has been checked. Raises Missing, and Damaged."""
    text = parquet.read_metadata(journal.files.path(name.key), name.key).get(METADATA_KEY)
    try:
        fields = json.loads(text or b"")
        if fields["format"] != VERSION:
            raise ValueError(f"format {fields['format']} is not {VERSION}")
        found = CheckpointFooter(
            str(fields["stream"]),
            Position(int(fields["epoch"]), int(fields["lsn"])),
            int(fields["at"]),
            tuple(Span(int(epoch), int(first), int(last)) for epoch, first, last in fields["lineage"]),
            str(fields["previous"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(
            f"checkpoint {name.key} has no footer that can be read: {type(error).__name__} {error}",
            hint="run `bcsctl check` to see what it affects",
            details={"object": name.key},
        ) from None
    if (found.stream, found.position) != (name.stream, name.position):
        raise Damaged(f"checkpoint {name.key} is not the one that its footer names", details={"object": name.key})
    return found


def put(journal: Journal, rows: pa.Table, footer: CheckpointFooter) -> str:
    """Write a checkpoint, durably. `rows` are columns of EVENTS, sorted. Answers its key. Idempotent."""
    fields = {
        "format": VERSION,
        "stream": footer.stream,
        "epoch": footer.position.epoch,
        "lsn": footer.position.lsn,
        "at": footer.at,
        "lineage": [[span.epoch, span.lsn_first, span.lsn_last] for span in footer.line],
        "previous": footer.previous,
    }
    content = memoryview(parquet.encode(rows, json.dumps(fields, separators=(",", ":"))))
    key = names.checkpoint_key(footer.stream, footer.position, GENERATION, content)
    with suppress(AlreadyThere):  # the name holds the content's hash: the one that is there is this one
        journal.store.put(key, content)
    return key
