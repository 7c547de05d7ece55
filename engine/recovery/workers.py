"""Restore workers: processes that fill files side by side, since one interpreter uses one core.

A worker is a fork of this process (fork(2)): it has the work already, and imports nothing. Of what it inherits it uses
the interpreter, the journal's files and keys; threads and the database's connections are its parent's, so it never
returns and closes every descriptor but its own pipe. It answers a line a file, and ends when its parent has gone.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from engine.env.processes import end_with
from engine.env.selecting import lines_of
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import Failed
from engine.recovery.fill import FileTask, Filled, fill, fill_all

_ORPHANED = 1
ALONE_BELOW_FILES = 500
SMALL_BYTES = 1 << 20
"""Files below this cost mostly the interpreter's time, which only another process adds to."""

_ANSWER_BYTES = 2048
_DESCRIPTORS_MAX = 1 << 16


def worth_processes(tasks: Sequence[FileTask]) -> bool:
    """Whether starting processes pays."""
    return sum(task.size < SMALL_BYTES for task in tasks) >= ALONE_BELOW_FILES


def fill_on_threads(
    journal: Journal, stream: str, tasks: Sequence[FileTask], owners: bool, threads: int
) -> Iterator[Filled]:
    """Fill files and parts of files: large frames are opened, checked and written outside of the interpreter's lock."""
    reader = DataReader(journal)
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda task: fill(task, reader, stream, owners), tasks)


def fill_in_processes(
    journal: Journal, stream: str, tasks: Sequence[FileTask], shares: Sequence[Sequence[int]], owners: bool
) -> Iterator[Filled]:
    """Fill several shares of the tasks, by their indexes, at once; answers come as they are done. Failed when a worker
    dies."""
    workers: dict[int, IO[bytes]] = {}
    try:
        for share in shares:
            pid, pipe = _start(journal, stream, tasks, share, owners)
            workers[pid] = pipe
        for line in lines_of(list(workers.values())):
            yield _filled(line, tasks)
        for pid in list(workers):
            workers.pop(pid).close()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code:
                raise Failed(f"a restore worker ended with code {code}", hint="run the restore again")
    finally:
        for pid, pipe in workers.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pipe.close()


def _start(
    journal: Journal, stream: str, tasks: Sequence[FileTask], share: Sequence[int], owners: bool
) -> tuple[int, IO[bytes]]:
    """A worker's process and the pipe that its answers come from."""
    parent = os.getpid()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, os.fdopen(ours, "rb", 0)
    code = _ORPHANED
    try:
        code = _work(journal, stream, tasks, share, owners, theirs, parent)
    except BrokenPipeError:
        pass  # nobody is there who would want an answer
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _work(
    journal: Journal,
    stream: str,
    tasks: Sequence[FileTask],
    share: Sequence[int],
    owners: bool,
    pipe: int,
    parent: int,
) -> int:
    """What a worker does; its exit code."""
    gc.disable()  # what the parent has is not ours to take apart
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if not end_with(parent):
        return _ORPHANED
    os.closerange(3, pipe)
    os.closerange(pipe + 1, _DESCRIPTORS_MAX)
    answer = bytearray()
    mine = [tasks[index] for index in share]
    for index, filled in zip(share, fill_all(mine, DataReader(journal), stream, owners), strict=True):
        answer += _line(index, filled)
        if len(answer) > _ANSWER_BYTES or filled.bytes_written > SMALL_BYTES:
            _write(pipe, answer)
    _write(pipe, answer)
    return 0


def _write(pipe: int, answer: bytearray) -> None:
    while answer:
        del answer[: os.write(pipe, answer)]


def _line(index: int, filled: Filled) -> bytes:
    """The task's number and the bytes written; what else there is to say as JSON."""
    if not (filled.shortfalls or filled.failure):
        return b"%d %d\n" % (index, filled.bytes_written)
    told: dict[str, Any] = {"shortfalls": filled.shortfalls, "failure": filled.failure, "damaged": filled.damaged}
    return b"%d %d %b\n" % (index, filled.bytes_written, json.dumps(told).encode())


def _filled(line: bytes, tasks: Sequence[FileTask]) -> Filled:
    index, count, *more = line.split(b" ", 2)
    task = tasks[int(index)]
    if not more:
        return Filled(task.target, int(count), part=task.part)
    told: Mapping[str, Any] = json.loads(more[0])
    return Filled(task.target, int(count), tuple(told["shortfalls"]), told["failure"], bool(told["damaged"]), task.part)
