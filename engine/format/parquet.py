"""Segments as Parquet: the settings that measured best, written to memory, read from files or memory.

Row groups of about 122,880; DELTA_BINARY_PACKED for numbers that grow, PLAIN for hashes, dictionaries where values
repeat, statistics only where they prune; zstd at level 1, above which our data gains under 1 %.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.format import footer as footers
from engine.format.footer import Footer
from engine.format.schema import EVENTS
from engine.model.errors import Damaged

ROW_GROUP_ROWS = 122_880
ZSTD_ROWS = 1_000
"""Below this zstd, which sets up its tables for each column anew, doubles the time of a commit and gains nothing."""

_DICTIONARY = ["stream", "epoch", "committed_at", "kind", "name", "type", "mode", "uid", "gid", "xattrs", "pack"]
_DICTIONARY += ["mark", "label", "point_class"]
_DELTA = ["lsn", "at", "subject", "file_id", "size", "mtime_ns", "offset", "length", "frame", "frame_bytes", "skip"]
_STATISTICS = ["stream", "epoch", "lsn", "at", "committed_at", "kind", "subject", "file_id", "pack", "mark"]


def encode(table: pa.Table, text: str, key: bytes = footers.METADATA_KEY) -> pa.Buffer:
    """A whole Parquet object: the rows of `table` (columns of EVENTS, sorted already) and `text` in its footer."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        version="2.6",
        compression="zstd" if table.num_rows >= ZSTD_ROWS else "snappy",
        use_dictionary=_DICTIONARY,
        column_encoding=dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"),
        write_statistics=_STATISTICS,
        store_schema=False,
    ) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata({key.decode(): text})
    return sink.getvalue()


def read_metadata(source: str | os.PathLike[str] | pa.Buffer, key: str) -> Mapping[bytes, bytes]:
    """The key-value metadata of the object `key`, read from a path or from memory. Raises Damaged."""
    with _opened(source, key) as file:
        return dict(file.metadata.metadata or {})


def read_footer(source: str | os.PathLike[str] | pa.Buffer, key: str) -> Footer:
    """The footer of segment `key`, read from a path or from memory. Raises Damaged."""
    return footers.decode(key, read_metadata(source, key).get(footers.METADATA_KEY))


def read_events(source: str | os.PathLike[str] | pa.Buffer, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a segment or checkpoint, with the types of EVENTS; only some columns, in EVENTS order, if named.

    Raises Damaged.
    """
    rows = read_rows(source, key, columns)
    try:
        return as_events(rows)
    except pa.ArrowException as error:
        raise _unreadable(key, error) from None


def read_rows(source: str | os.PathLike[str] | pa.Buffer, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The same with the types that Parquet has: plain strings where EVENTS has dictionaries. Raises Damaged."""
    with _opened(source, key) as file:
        return _rows_of(file, key, [name for name in EVENTS.names if columns is None or name in columns])


def read_whole(source: str | os.PathLike[str] | pa.Buffer, key: str) -> tuple[Footer, pa.Table]:
    """The footer of segment `key`, and its rows as `read_rows` gives them. Raises Damaged."""
    with _opened(source, key) as file:
        text = (file.metadata.metadata or {}).get(footers.METADATA_KEY)
        return footers.decode(key, text), _rows_of(file, key, EVENTS.names)


def as_events(table: pa.Table) -> pa.Table:
    """The same rows with the types of EVENTS: a reader of Parquet finds plain strings where EVENTS has dictionaries."""
    schema = pa.schema([EVENTS.field(name) for name in table.column_names])
    return table.cast(schema)


class _opened:
    """A Parquet file open for reading; what pyarrow raises becomes Damaged."""

    def __init__(self, source: str | os.PathLike[str] | pa.Buffer, key: str) -> None:
        try:
            readable: Any = pa.BufferReader(source) if isinstance(source, pa.Buffer) else os.fspath(source)
            self._file = pq.ParquetFile(readable, memory_map=False)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(key, error) from None

    def __enter__(self) -> pq.ParquetFile:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close(force=True)


def _rows_of(file: pq.ParquetFile, key: str, wanted: list[str]) -> pa.Table:
    try:
        return file.read(columns=wanted, use_threads=False).select(wanted)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _unreadable(key, error) from None


def _unreadable(key: str, error: Exception) -> Damaged:
    return Damaged(
        f"object {key} is no Parquet that can be read: {str(error).splitlines()[0] if str(error) else error!r}",
        hint="run `bcsctl check` to see what it affects",
        details={"object": key},
    )
