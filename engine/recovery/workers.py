"""Restore workers: processes that fill files side by side, since one interpreter uses one core.

A worker is this module run as a program. It gets its work on standard input (pickled: it
comes from our own parent through a pipe of our own) and answers a line of JSON a file. When the parent has died, it
ends without a word: nobody is there who would want one.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.env.processes import end_with
from engine.env.selecting import lines_of
from engine.journal.data import DataReader
from engine.journal.open import Journal, open_local
from engine.model.errors import Failed
from engine.model.events import DataRef, Inode
from engine.model.extents import Piece
from engine.recovery.fill import FileTask, Filled, fill, fill_all

_PARENT = "BCS_RESTORE_PARENT"
_ORPHANED = 1
ALONE_BELOW_FILES = 500
SMALL_BYTES = 1 << 20
"""Files below this cost mostly the interpreter's time, which only another process adds to."""


@dataclass(frozen=True, slots=True)
class Work:
    """One worker's share: where the journal is, and which files to make."""

    journal: str
    master_key: bytes
    stream: str
    owners: bool
    tasks: tuple[FileTask, ...]


def worth_processes(tasks: Sequence[FileTask]) -> bool:
    """Whether starting processes pays: they cost about a tenth of a second each."""
    return sum(task.size < SMALL_BYTES for task in tasks) >= ALONE_BELOW_FILES


def fill_on_threads(
    journal: Journal, stream: str, tasks: Sequence[FileTask], owners: bool, threads: int
) -> Iterator[Filled]:
    """Fill files and parts of files: large frames are opened, checked and written outside of the interpreter's lock."""
    reader = DataReader(journal)
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda task: fill(task, reader, stream, owners), tasks)


def fill_in_processes(shares: Sequence[Work]) -> Iterator[Filled]:
    """Fill several shares at once; answers come as they are done. Failed when a worker dies."""
    # All are started before any is given its work, so that they start while it is put together.
    workers = [_start() for _ in shares]
    try:
        for worker, share in zip(workers, shares, strict=True):
            _give(worker, share)
        for line in lines_of([worker.stdout for worker in workers if worker.stdout]):
            yield _filled(json.loads(line))
        for worker in workers:
            if worker.wait():
                raise Failed(f"a restore worker ended with code {worker.returncode}", hint="run the restore again")
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "engine.recovery.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root, _PARENT: str(os.getpid())},
    )


def _give(worker: subprocess.Popen[bytes], share: Work) -> None:
    assert worker.stdin is not None
    fields = (share.journal, share.master_key, share.stream, share.owners, [_flat(task) for task in share.tasks])
    try:
        with worker.stdin as pipe:
            pickle.dump(fields, pipe, protocol=5)
    except BrokenPipeError:
        pass  # it died at once: its exit code says so


def _flat(task: FileTask) -> tuple[Any, ...]:
    """A task as plain tuples, which pickle several times as fast as the objects do."""
    one = task.inode
    inode = (
        *(one.lsn, one.at, one.file_id, one.type, one.mode, one.uid, one.gid, one.size),
        *(one.mtime_ns, one.rdev, one.target, one.xattrs),
    )
    pieces = [
        (
            *(piece.offset, piece.length, piece.skip, piece.extent_length, piece.hash),
            *(piece.data.pack, piece.data.frame, piece.data.frame_bytes, piece.data.skip),
        )
        for piece in task.pieces
        if piece.data is not None
    ]
    return task.target, inode, pieces, task.part, task.mend


def _task(flat: tuple[Any, ...]) -> FileTask:
    target, inode, pieces, part, mend = flat
    found = tuple(
        Piece(offset, length, DataRef(*data), skip, extent_length, digest)
        for offset, length, skip, extent_length, digest, *data in pieces
    )
    return FileTask(target, Inode(*inode), found, part, mend)


def _main() -> None:
    """Work, until the work is done or the parent has gone. Ends at once then: buffers have no reader."""
    parent = int(os.environ[_PARENT])
    try:
        if not end_with(parent):
            os._exit(_ORPHANED)
        _run()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(_ORPHANED)
    except (EOFError, pickle.UnpicklingError):
        if os.getppid() != parent:
            os._exit(_ORPHANED)
        raise


def _run() -> None:
    root, master_key, stream, owners, flat = pickle.load(sys.stdin.buffer)
    journal = open_local(Path(root), master_key)
    out: list[dict[str, Any]] = []
    for filled in fill_all([_task(each) for each in flat], DataReader(journal), stream, owners):
        out.append(_row(filled))
        if len(out) >= 64 or filled.bytes_written > 1 << 20:
            _answer(out)
    _answer(out)


def _row(filled: Filled) -> dict[str, Any]:
    return {
        "target": os.fsdecode(filled.target),
        "bytes": filled.bytes_written,
        "shortfalls": filled.shortfalls,
        "failure": filled.failure,
        "damaged": filled.damaged,
        "part": filled.part,
    }


def _filled(row: Mapping[str, Any]) -> Filled:
    target, shortfalls = os.fsencode(row["target"]), tuple(row["shortfalls"])
    return Filled(target, row["bytes"], shortfalls, row["failure"], row["damaged"], row["part"])


def _answer(rows: list[dict[str, Any]]) -> None:
    # ASCII JSON carries names that are no UTF-8 as surrogate escapes.
    sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    sys.stdout.flush()
    rows.clear()


if __name__ == "__main__":
    _main()
