"""Restore workers: processes that fill files side by side, since one interpreter uses one core.

A worker is this module run as a program. It gets its work on standard input (pickled: it
comes from our own parent through a pipe of our own) and answers a line of JSON a file.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.env.selecting import lines_of
from engine.journal.data import DataReader
from engine.journal.open import Journal, open_local
from engine.model.errors import Failed
from engine.recovery.fill import FileTask, Filled, fill_all

ALONE_BELOW_FILES = 500
ALONE_BELOW_BYTES = 64 << 20


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
    return len(tasks) >= ALONE_BELOW_FILES or sum(task.inode.size for task in tasks) >= ALONE_BELOW_BYTES


def fill_here(journal: Journal, stream: str, tasks: Sequence[FileTask], owners: bool) -> Iterator[Filled]:
    """Fill files in this process."""
    yield from fill_all(tasks, DataReader(journal), stream, owners)


def fill_in_processes(shares: Sequence[Work]) -> Iterator[Filled]:
    """Fill several shares at once; answers come as they are done. Failed when a worker dies."""
    workers = [_start(share) for share in shares]
    try:
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


def _start(share: Work) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    worker = subprocess.Popen(
        [sys.executable, "-m", "engine.recovery.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    if worker.stdin is None:
        raise AssertionError("the pipe was asked for")
    with worker.stdin as pipe:
        pickle.dump(share, pipe, protocol=5)
    return worker


def _run() -> None:
    share: Work = pickle.load(sys.stdin.buffer)
    journal = open_local(Path(share.journal), share.master_key)
    out: list[dict[str, Any]] = []
    for filled in fill_all(share.tasks, DataReader(journal), share.stream, share.owners):
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
    }


def _filled(row: Mapping[str, Any]) -> Filled:
    target, shortfalls = os.fsencode(row["target"]), tuple(row["shortfalls"])
    return Filled(target, row["bytes"], shortfalls, row["failure"], row["damaged"])


def _answer(rows: list[dict[str, Any]]) -> None:
    # ASCII JSON carries names that are no UTF-8 as surrogate escapes.
    sys.stdout.write("".join(json.dumps(row) + "\n" for row in rows))
    sys.stdout.flush()
    rows.clear()


if __name__ == "__main__":
    _run()
