"""A long history made fast: batches built as columns, given to the journal's own committer, merged as a node does.

What is in it: `files` files in directories of a hundred, made at once; then rounds in which a file gets its attributes
and one of its blocks anew, some files a thousand times as often as others, and a recovery point after each 200 events.
The blocks of a batch lie in a few frames, so that the history is long and not large.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
from blake3 import blake3

from engine.env.clock import SYSTEM
from engine.journal import control
from engine.journal.commit import Committer
from engine.journal.merge import Rules, merge_due
from engine.journal.open import Journal, open_local
from engine.model.ids import parse_address, stream_id
from engine.model.times import format_time
from engine.node.master_key import ensure_master_key
from engine.query.checkpoint import build_checkpoint
from engine.query.points import points
from engine.query.session import Session
from engine.wire.batch import NO_HASH, Batch
from engine.wire.columns import BYTES, TABLES, BytesColumn
from engine.wire.frames import Frame, compress
from tests.nodes import source

ADDRESS = "bench/localhost/files"
PATH = "/srv/bench"
FILES_A_DIRECTORY = 100
BLOCK_BYTES, BLOCKS = 512, 8
BATCH_EVENTS = 100_000
POINT_EVENTS = 200
CHECKPOINT_EVENTS = 1_000_000
MERGE = Rules(commits_min=2, age_seconds=0.0, segments_min=2, grace_seconds=0.0)
_TOP = 2
"""Directories above the others: /srv and /srv/bench."""
EVENT_US = 100_000
"""A tenth of a second between two events: 20 million are three weeks."""


@dataclass(frozen=True, slots=True)
class History:
    """A journal below `home`; `path` is a file of it that changed often, `quiet_path` one that changed seldom, in a
    source whose files are below PATH. `ended_at` is the time of its last event, microseconds."""

    home: Path
    events: int
    ended_at: int
    path: str
    quiet_path: str


def make(home: Path, events: int, files: int) -> History:
    """The history, in a new home. Takes about a minute for 20 million events on two processors."""
    home.mkdir(parents=True)
    key = bytes.fromhex(ensure_master_key(home).read_text().strip())
    address = parse_address(ADDRESS)
    stream = stream_id(address)
    began = SYSTEM.now() - (events + 4 * files) * EVENT_US
    with open_local(home / "journal", key, create=True) as journal:
        control.follow(journal.store, control.POLICIES, 0, _applied(began))
        with Committer(journal, "n1") as committer:
            committer.register(address)
            epoch = committer.open_stream(stream, "bench", None).head.epoch
            prev, made, checked = NO_HASH, 0, 0
            for tables, count, frames in _batches(events, files, began):
                digest = blake3(prev + count.to_bytes(8, "little")).digest(16)
                batch = Batch(stream, epoch, made + 1, made + count, prev, digest, tables, frames)
                committer.submit(batch).result(timeout=600)
                prev, made = digest, made + count
                if made - checked >= CHECKPOINT_EVENTS or made >= events:
                    checked = made
                    _tidy(journal, stream)
    return History(home, made, began + made * EVENT_US, file_path(0), file_path(files // 2))


def file_path(number: int) -> str:
    return f"{PATH}/d{number // FILES_A_DIRECTORY:06d}/f{number:08d}"


def _tidy(journal: Journal, stream: str) -> None:
    while merge_due(journal, SYSTEM, MERGE).written:
        pass
    with Session(journal) as session:
        build_checkpoint(session, stream, points(session, stream, limit=1)[0])


def _applied(at: int) -> dict[str, Any]:
    return {
        "applied_at": format_time(at),
        "by": "bench",
        "commit": None,
        "dirty": False,
        "documents": {"ProtectionGroup/bench": {"kind": "ProtectionGroup"}},
        "sources": {ADDRESS: source(ADDRESS, PATH)},
    }


def _batches(events: int, files: int, began: int) -> Iterator[tuple[dict[str, Any], int, tuple[Frame, ...]]]:
    """(tables, events in them, frames) one after another; LSNs begin with 1."""
    frames = (compress(os.urandom(256 << 10)),)
    with duckdb.connect(":memory:", config={"threads": 2}) as rows:
        rows.execute("SELECT setseed(0.2006)")
        rows.execute(f"CREATE MACRO time_of(lsn) AS {began} + lsn::BIGINT * {EVENT_US}")
        tables, made = _baseline(rows, files)
        yield tables, made, frames
        while made < events:
            tables, count = _changes(rows, files, made + 1)
            yield tables, count, frames
            made += count


def _baseline(rows: duckdb.DuckDBPyConnection, files: int) -> tuple[dict[str, Any], int]:
    """All directories and files, each file whole in one extent, and the baseline's end."""
    folders = -(-files // FILES_A_DIRECTORY)
    inodes = _TOP + folders + files
    rows.execute(
        f"""CREATE TEMP TABLE made AS SELECT i + 1 AS id, i >= {_TOP + folders} AS is_file,
            CASE WHEN i < {_TOP} THEN i WHEN i < {_TOP + folders} THEN {_TOP}
            ELSE {_TOP + 1} + (i - {_TOP + folders}) // {FILES_A_DIRECTORY} END AS parent,
            CASE WHEN i = 0 THEN 'srv' WHEN i = 1 THEN 'bench' WHEN i < {_TOP + folders}
            THEN printf('d%06d', i - {_TOP}) ELSE printf('f%08d', i - {_TOP + folders}) END AS name
            FROM range({inodes}) r(i) ORDER BY i"""
    )
    last = 2 * inodes + files + 1
    tables = {
        "inode": _inodes(rows, "SELECT id AS lsn, id AS file_id, is_file FROM made ORDER BY id"),
        "dentry": {
            **_columns(rows, "dentry", f"SELECT {inodes} + id AS lsn, parent, id AS file_id FROM made ORDER BY id"),
            "name": _texts([name.encode() for (name,) in rows.execute("SELECT name FROM made ORDER BY id").fetchall()]),
        },
        "extent": _extents(
            rows,
            f"""SELECT {2 * inodes} + row_number() OVER (ORDER BY id) AS lsn, id AS file_id, 0 AS "offset",
                {BLOCKS * BLOCK_BYTES} AS "length", id % 400 * {BLOCK_BYTES} AS skip
                FROM made WHERE is_file ORDER BY id""",
        ),
        "mark": _marks(rows, f"SELECT {last} AS lsn", b"baseline"),
    }
    return tables, last


def _changes(rows: duckdb.DuckDBPyConnection, files: int, lsn: int) -> tuple[dict[str, Any], int]:
    """An inode and an extent for each change from `lsn` on, and points among them."""
    pairs, every = BATCH_EVENTS // 2, POINT_EVENTS // 2
    first = _TOP + -(-files // FILES_A_DIRECTORY) + 1
    # A power law: the first few files change all the time, most now and then.
    rows.execute(
        f"""CREATE OR REPLACE TEMP TABLE changed AS SELECT {lsn} + 2 * i + i // {every} AS lsn,
            {first} + floor({files} * pow(random(), 6))::BIGINT AS file_id, floor(random() * {BLOCKS})::BIGINT AS block,
            floor(random() * 500)::BIGINT AS piece FROM range({pairs}) r(i) ORDER BY i"""
    )
    tables = {
        "inode": _inodes(rows, "SELECT lsn, file_id, true AS is_file FROM changed ORDER BY lsn"),
        "extent": _extents(
            rows,
            f"""SELECT lsn + 1 AS lsn, file_id, block * {BLOCK_BYTES} AS "offset", {BLOCK_BYTES} AS "length",
                piece * {BLOCK_BYTES} AS skip FROM changed ORDER BY lsn""",
        ),
        "mark": _marks(
            rows, f"SELECT {lsn - 1} + (i + 1) * {2 * every + 1} AS lsn FROM range({pairs // every}) r(i)", b"pass"
        ),
    }
    return tables, 2 * pairs + pairs // every


def _inodes(rows: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    found = _columns(
        rows,
        "inode",
        f"""SELECT lsn, file_id, CASE WHEN is_file THEN ord('f') ELSE ord('d') END AS "type",
            CASE WHEN is_file THEN {0o644} ELSE {0o755} END AS mode, 0 AS uid, 0 AS gid,
            CASE WHEN is_file THEN {BLOCKS * BLOCK_BYTES} ELSE 0 END AS size, time_of(lsn) * 1000 AS mtime_ns, 0 AS rdev
            FROM ({query})""",
    )
    empty = _texts([b""] * len(found["lsn"]))
    return {**found, "target": empty, "xattrs": empty}


def _extents(rows: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    return _columns(rows, "extent", f"SELECT *, 0 AS frame FROM ({query})")


def _marks(rows: duckdb.DuckDBPyConnection, query: str, kind: bytes) -> dict[str, Any]:
    found = _columns(rows, "mark", f"SELECT lsn, 0 AS gap_from FROM ({query})")
    count = len(found["lsn"])
    empty = _texts([b""] * count)
    return {**found, "kind": _texts([kind] * count), "label": empty, "point_class": _texts([b"quiet"] * count)}


def _columns(rows: duckdb.DuckDBPyConnection, table: str, query: str) -> dict[str, Any]:
    """The columns of numbers of a table, by a query that answers them all but for the time; ordered by LSN."""
    codes = {name: code for name, code in TABLES[table] if code is not BYTES}
    cast = ", ".join(
        f'{"time_of(lsn)" if name == "at" else chr(34) + name + chr(34)}::{_SQL[code]} AS "{name}"'
        for name, code in codes.items()
    )
    answer = rows.sql(f"SELECT {cast} FROM ({query}) ORDER BY lsn").to_arrow_table().combine_chunks()
    found: dict[str, Any] = {}
    for name, code in codes.items():
        values = answer[name].combine_chunks() if answer[name].num_chunks != 1 else answer[name].chunk(0)
        column = array(code)
        start = values.offset * column.itemsize
        column.frombytes(memoryview(values.buffers()[1])[start : start + len(values) * column.itemsize])
        found[name] = column
    return found


_SQL = {"Q": "UBIGINT", "q": "BIGINT", "I": "UINTEGER", "i": "INTEGER", "B": "UTINYINT"}


def _texts(values: list[bytes]) -> BytesColumn:
    return BytesColumn(array("i", accumulate(map(len, values), initial=0)), memoryview(b"".join(values)))
