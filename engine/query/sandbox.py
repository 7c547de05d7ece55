"""The process that runs a user's SQL: reads a task on standard input, writes the answer on standard output.

It can read the segments it is told of and nothing else, write nothing at all, and holds no key.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from engine.model.errors import BcsError, Failed, UsageError
from engine.query import parse, sql

ANSWER_BYTES_MAX = 64 << 20
THREADS = 2
_BATCH_ROWS = 1024


def main() -> None:
    """Unpack the task, answer it, end. Errors travel in the answer; anything else is a crash."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task, tables = unpacked(sys.stdin.buffer.read())
    os.chdir(task["folder"])
    cpu_seconds = int(task["seconds_max"] * THREADS) + 20
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    try:
        names, body = answer(task, tables)
        head: dict[str, Any] = {"columns": names}
    except BcsError as error:
        kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ == "engine.model.errors")
        head, body = {"error": {"class": kind, "message": error.message, "hint": error.hint}}, b""
    text = json.dumps(head).encode()
    sys.stdout.buffer.write(struct.pack("<Q", len(text)) + text + body)
    sys.stdout.buffer.flush()
    os._exit(0)  # there is nothing to tidy up, and threads of the database may not outlive the interpreter


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, pa.Table]]:
    """The task and its tables, as `engine.query.user.packed` made them."""
    (length,) = struct.unpack_from("<Q", data)
    task = json.loads(data[8 : 8 + length])
    tables: dict[str, pa.Table] = {}
    at = 8 + length
    for name, size in task["tables"].items():
        with pa.ipc.open_stream(data[at : at + size]) as reader:
            tables[name] = reader.read_all()
        at += size
    return task, tables


def answer(task: dict[str, Any], tables: dict[str, pa.Table]) -> tuple[list[str], bytes]:
    """Column names, and the rows as an Arrow stream."""
    connection = duckdb.connect(":memory:", config={"threads": THREADS, "python_enable_replacements": False})
    _prepare(connection, task, tables)
    query = parse.checked(connection, task["sql"])
    timer = threading.Timer(task["seconds_max"], connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        reader = connection.execute(query).to_arrow_reader(_BATCH_ROWS)
        return _collected(reader, task["rows_max"])
    except duckdb.InterruptException:
        raise Failed(
            f"the query took longer than {task['seconds_max']:g} s", hint="ask for less, or narrow the time"
        ) from None
    except duckdb.OutOfMemoryException:
        raise Failed(f"the query needs more than {task['memory']} of memory", hint="ask for less") from None
    except duckdb.Error as error:
        text = str(error).strip().splitlines()[0]
        raise UsageError(text, hint=f"the views are {', '.join(parse.VIEWS)}; DESCRIBE shows their columns") from None
    finally:
        timer.cancel()


def _prepare(connection: duckdb.DuckDBPyConnection, task: dict[str, Any], tables: dict[str, pa.Table]) -> None:
    for name, table in tables.items():
        connection.register("lent", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM lent")
        connection.unregister("lent")
    connection.execute(sql.text("no_events"))
    segments = sql.parquet(map(Path, task["segments"])) if task["segments"] else "no_events"
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(sql.fill("user_views", segments=segments))
    if "audit" not in tables:
        connection.execute(sql.text("user_audit"))
    allowed = ", ".join(map(sql.quoted, task["segments"]))
    for setting in (
        "temp_directory = ''",
        f"allowed_paths = [{allowed}]",
        "enable_external_access = false",
        f"memory_limit = {sql.quoted(task['memory'])}",
        "lock_configuration = true",
    ):
        connection.execute(f"SET GLOBAL {setting}")


def _collected(reader: pa.RecordBatchReader, rows_max: int) -> tuple[list[str], bytes]:
    # Columns may share a name, and Arrow streams may not mind, but readers of tables by name would.
    names = reader.schema.names
    numbered = pa.schema([pa.field(f"c{at}", field.type) for at, field in enumerate(reader.schema)])
    sink = BytesIO()
    rows = 0
    with pa.ipc.new_stream(sink, numbered) as writer:
        for batch in reader:
            rows += batch.num_rows
            if rows > rows_max:
                raise UsageError(f"the answer has more than {rows_max} rows", hint="add LIMIT, or count and group")
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=numbered))
            if sink.tell() > ANSWER_BYTES_MAX:
                raise UsageError(f"the answer is larger than {ANSWER_BYTES_MAX >> 20} MiB", hint="ask for less")
    return names, sink.getvalue()


if __name__ == "__main__":
    main()
