"""Users' SQL over the journal: read-only, in a process of its own, bounded in rows, time and memory.

This side prepares what the views stand on and starts the process (`engine.query.sandbox`), which
gets the paths of verified segments, a few tables and no key.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

import engine
from engine.env.own_directory import OwnDirectory
from engine.journal.open import Journal
from engine.journal.seen import Seen
from engine.model import errors
from engine.model.errors import BcsError, Damaged, Failed
from engine.query import sql as texts
from engine.query.points import table_of
from engine.query.seen import AUDIT, audit_table, copy_of_seen
from engine.query.session import Session
from engine.query.streams import streams

ROWS_MAX = 10_000
SECONDS_MAX = 30.0
MEMORY = "512MB"
_START_SECONDS = 20.0

_UTC = pa.timestamp("us", "UTC")
STREAMS = pa.schema(
    [
        ("address", pa.string()),
        ("stream", pa.string()),
        ("group_name", pa.string()),
        ("host", pa.string()),
        ("source", pa.string()),
        ("epoch", pa.int64()),
        ("created_at", _UTC),
    ]
)
COMMITS = pa.schema(
    [
        ("node", pa.string()),
        ("boot", pa.int64()),
        ("seq_first", pa.int64()),
        ("seq_last", pa.int64()),
        ("committed_at_first", _UTC),
        ("committed_at_last", _UTC),
        ("streams", pa.int64()),
        ("packs", pa.int64()),
        ("pack_bytes", pa.int64()),
        ("object", pa.string()),
    ]
)
"""One row a visible segment: a commit, or several that were merged. Sizes in bytes."""


def run_sql(
    journal: Journal, sql: str, *, rows_max: int = ROWS_MAX, seconds_max: float = SECONDS_MAX, memory: str = MEMORY
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """One SELECT over the views events, points, streams, commits, audit: column names and rows.

    UsageError for SQL that is wrong or answers with more than `rows_max` rows; Refused for anything but a SELECT over
    the views; Failed beyond `seconds_max` or `memory`; Damaged when commits are lost, for then the answer would be.
    """
    with Session(journal) as session:
        return session.reading(lambda: _run(session, sql, rows_max, seconds_max, memory))


def _run(
    session: Session, sql: str, rows_max: int, seconds_max: float, memory: str
) -> tuple[list[str], list[tuple[Any, ...]]]:
    if session.held.lost:
        names = [each.name for each in session.held.lost]
        raise Damaged(
            f"an answer would not be whole: damaged or not there: {', '.join(names[:4])}",
            hint="`bcsctl check` lists what is damaged and what it affects",
            details={"objects": names, "object": names[0]},
        )
    paths = [str(session.journal.files.path(key)) for key in sorted(session.held.keys)]
    tables = {"streams": _streams(session), "commits": _commits(session), "points": _points(session)}
    with OwnDirectory("query") as own:
        if session.journal.seen:
            paths, tables = _only_seen(session, session.journal.seen, paths, tables, own / "events.parquet")
        return _asked(sql, paths, tables, rows_max, seconds_max, memory)


def _only_seen(
    session: Session, seen: Seen, paths: list[str], tables: dict[str, pa.Table], file: Path
) -> tuple[list[str], dict[str, pa.Table]]:
    """The same of what the journal's reader may know of, and nothing else: that is all the process gets."""
    tables = {**tables, "commits": COMMITS.empty_table()}  # a commit is the site's
    if not paths:
        return [], {**tables, "audit": AUDIT.empty_table()}
    segments = texts.parquet(map(Path, paths))
    copy_of_seen(session, seen, segments, file)
    return [str(file)], {**tables, "audit": audit_table(session, seen, segments)}


def _asked(
    sql: str, paths: list[str], tables: dict[str, pa.Table], rows_max: int, seconds_max: float, memory: str
) -> tuple[list[str], list[tuple[Any, ...]]]:
    folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else "/"
    task = {
        "sql": sql,
        "rows_max": rows_max,
        "seconds_max": seconds_max,
        "memory": memory,
        "folder": folder,
        # Below the folder, since DuckDB compares what is allowed with patterns: the folder may hold any letter.
        "segments": [os.path.relpath(path, folder) for path in paths],
    }
    return _answer(_ask(packed(task, tables), seconds_max))


def packed(task: dict[str, Any], tables: dict[str, pa.Table]) -> bytes:
    """A JSON object and tables as one byte string: lengths, names and all; `engine.query.sandbox` unpacks it."""
    bodies: list[bytes] = []
    for table in tables.values():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        bodies.append(sink.getvalue().to_pybytes())
    lengths = {name: len(body) for name, body in zip(tables, bodies, strict=True)}
    head = json.dumps({**task, "tables": lengths}).encode()
    return b"".join([struct.pack("<Q", len(head)), head, *bodies])


def _ask(task: bytes, seconds_max: float) -> bytes:
    command = [sys.executable, "-m", "engine.query.sandbox"]
    environment = {"PYTHONPATH": str(Path(engine.__file__).parents[1]), "PATH": os.defpath, "HOME": "/nonexistent"}
    try:
        done = subprocess.run(
            command, input=task, capture_output=True, timeout=seconds_max + _START_SECONDS, env=environment, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"the query took longer than {seconds_max:g} s", hint="ask for less, or narrow the time") from None
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        raise Failed(f"the query's process has failed: {last[0]}", hint="ask for less, or narrow the time")
    return done.stdout


def _answer(output: bytes) -> tuple[list[str], list[tuple[Any, ...]]]:
    (length,) = struct.unpack_from("<Q", output)
    head = json.loads(output[8 : 8 + length])
    if "error" in head:
        raise _error(head["error"])
    with pa.ipc.open_stream(output[8 + length :]) as reader:
        table = reader.read_all()
    columns = [column.to_pylist() for column in table.columns]
    return list(head["columns"]), list(zip(*columns, strict=True)) if columns else []


def _error(fields: dict[str, str]) -> BcsError:
    kind = {"UsageError": errors.UsageError, "Refused": errors.Refused}.get(fields["class"], Failed)
    return kind(fields["message"], hint=fields["hint"])


def _streams(session: Session) -> pa.Table:
    rows = [
        {
            "address": str(each.address),
            "stream": each.id,
            "group_name": each.group,
            "host": each.address.host,
            "source": each.address.source,
            "epoch": each.epoch,
            "created_at": each.created_at,
        }
        for each in streams(session.journal).values()
    ]
    return pa.Table.from_pylist(rows, schema=STREAMS)


def _commits(session: Session) -> pa.Table:
    rows = [
        {
            "node": footer.node,
            "boot": footer.boot,
            "seq_first": footer.seq_first,
            "seq_last": footer.seq_last,
            "committed_at_first": footer.committed_at_first,
            "committed_at_last": footer.committed_at_last,
            "streams": len(footer.streams),
            "packs": len(footer.packs),
            "pack_bytes": sum(pack.bytes for pack in footer.packs),
            "object": key,
        }
        for key, footer in sorted(session.held.footers.items())
    ]
    return pa.Table.from_pylist(rows, schema=COMMITS)


def _points(session: Session) -> pa.Table:
    """All points along the current lineage of every stream."""
    known = streams(session.journal)
    parts = [
        texts.fill("user_points", points=name, address=texts.quoted(str(address)), stream=texts.quoted(each.id))
        for address, each in known.items()
        if each.epoch and (name := table_of(session, each.id))
    ]
    nothing = texts.fill("user_points", points="no_points", address="''", stream="''")
    session.keep("no points", lambda: session.rows(texts.text("no_points")))
    return session.table("\nUNION ALL ".join(f"({part})" for part in [nothing, *parts]))
