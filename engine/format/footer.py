"""What a segment says of itself: the JSON under `bcs` in its Parquet footer (docs/format.md, "Footer").

It chains the commits (`prev`), the batches of each stream (`prev`, `hash` of a Run) and the packs (their hashes): so a
missing object shows in its neighbours, and a changed pack in the segment that owns it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.model.errors import Damaged

VERSION = 1
METADATA_KEY = b"bcs"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack as it was written: its size in bytes and the BLAKE3 (128 bits, hexadecimal) of its content."""

    key: str
    bytes: int
    hash: str


@dataclass(frozen=True, slots=True)
class Run:
    """Events lsn_first..lsn_last of one epoch, without gap. `hash` is their last batch's, `prev` that of the batch
    before the first one, both hexadecimal."""

    epoch: int
    lsn_first: int
    lsn_last: int
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class StreamFooter:
    """One stream in a segment: its runs, by (epoch, lsn), and how far it is known to be complete, in site time
    (microseconds; 0 for not known). No runs: the stream was idle and only its watermark stands here.

    A merged segment keeps of its commits' watermarks those that say how long the source was idle at a recovery point,
    as (committed_at, through_at) by through_at (engine/journal/watermarks.py). What others said beyond them is at most
    `lost_microseconds` a point.
    """

    runs: tuple[Run, ...] = ()
    through_at: int = 0
    watermarks: tuple[tuple[int, int], ...] = ()
    lost_microseconds: int = 0


@dataclass(frozen=True, slots=True)
class Footer:
    """Commits seq_first..seq_last of a boot. Times are the node's, microseconds.

    `prev` is the content hash of the L0 object of the commit before, across boots, "" for the journal's first;
    `last` that of the last commit in a merged segment, "" in a commit itself (it can't hold its own hash).
    `merged_at` is when a merged segment was made, 0 in a commit.
    """

    node: str
    boot: int
    seq_first: int
    seq_last: int
    committed_at_first: int
    committed_at_last: int
    prev: str
    last: str = ""
    merged_at: int = 0
    packs: tuple[Pack, ...] = ()
    streams: Mapping[str, StreamFooter] = field(default_factory=dict)

    def encode(self) -> str:
        """The JSON text. `epoch`, `lsn_first`, `lsn_last` and `hash` of a stream are those of its last run; the runs
        before it stand in `before`."""
        fields = {
            "format": VERSION,
            "node": self.node,
            "boot": self.boot,
            "seq_first": self.seq_first,
            "seq_last": self.seq_last,
            "committed_at_first": self.committed_at_first,
            "committed_at_last": self.committed_at_last,
            "prev": self.prev,
            "last": self.last,
            "merged_at": self.merged_at,
            "packs": [{"key": pack.key, "bytes": pack.bytes, "hash": pack.hash} for pack in self.packs],
            "streams": {name: _stream_fields(self.streams[name]) for name in sorted(self.streams)},
        }
        return json.dumps(fields, separators=(",", ":"))


def decode(key: str, text: bytes | str | None) -> Footer:
    """The footer of segment `key`. Raises Damaged when it is missing or can't be."""
    try:
        fields = json.loads(text or "")
        if fields["format"] != VERSION:
            raise ValueError(f"format {fields['format']} is not {VERSION}")
        return Footer(
            str(fields["node"]),
            int(fields["boot"]),
            int(fields["seq_first"]),
            int(fields["seq_last"]),
            int(fields["committed_at_first"]),
            int(fields["committed_at_last"]),
            str(fields["prev"]),
            str(fields["last"]),
            int(fields["merged_at"]),
            tuple(Pack(str(pack["key"]), int(pack["bytes"]), str(pack["hash"])) for pack in fields["packs"]),
            {str(name): _stream_footer(each) for name, each in fields["streams"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(
            f"segment {key} has no footer that can be read: {type(error).__name__} {error}",
            hint="run `bcsctl check` to see what it affects",
            details={"object": key},
        ) from None


def join_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Runs in order, those that continue one another made one. Runs that overlap are left as they are."""
    joined: list[Run] = []
    for run in sorted(runs, key=lambda each: (each.epoch, each.lsn_first, each.lsn_last)):
        before = joined[-1] if joined else None
        follows = before is not None and before.epoch == run.epoch and before.lsn_last + 1 == run.lsn_first
        if before is not None and follows and before.hash == run.prev:
            joined[-1] = Run(run.epoch, before.lsn_first, run.lsn_last, before.prev, run.hash)
        else:
            joined.append(run)
    return tuple(joined)


def runs_of(footer: Footer) -> Iterator[tuple[str, Run]]:
    """(stream, run) for all that a segment holds."""
    for name, stream in footer.streams.items():
        for run in stream.runs:
            yield name, run


def _stream_fields(stream: StreamFooter) -> dict[str, Any]:
    fields: dict[str, Any] = {"lsn_first": None, "through_at": stream.through_at}
    if stream.watermarks:
        fields["watermarks"] = stream.watermarks
    if stream.lost_microseconds:
        fields["lost_microseconds"] = stream.lost_microseconds
    if stream.runs:
        fields |= _run_fields(stream.runs[-1])
        if len(stream.runs) > 1:
            fields["before"] = [_run_fields(run) for run in stream.runs[:-1]]
    return fields


def _run_fields(run: Run) -> dict[str, Any]:
    return {
        "epoch": run.epoch,
        "lsn_first": run.lsn_first,
        "lsn_last": run.lsn_last,
        "prev": run.prev,
        "hash": run.hash,
    }


def _stream_footer(fields: Mapping[str, Any]) -> StreamFooter:
    listed = [*fields.get("before", ()), fields] if fields["lsn_first"] is not None else []
    runs = tuple(
        Run(int(run["epoch"]), int(run["lsn_first"]), int(run["lsn_last"]), str(run["prev"]), str(run["hash"]))
        for run in listed
    )
    watermarks = tuple(
        (int(committed_at), int(through_at)) for committed_at, through_at in fields.get("watermarks", ())
    )
    return StreamFooter(runs, int(fields["through_at"]), watermarks, int(fields.get("lost_microseconds", 0)))
