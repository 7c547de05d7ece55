"""Restore workers: processes that fill files side by side, since one interpreter uses one core.

A worker is a fork of this process (fork(2)): it has the work already, and imports nothing. Of what it inherits it uses
the interpreter, the journal's files and keys; threads and the database's connections are its parent's, so it never
returns and closes every descriptor but its pipes. The numbers of all shares lie in one that they have in common: who
is done with a share takes the next. It answers a line a file, and ends when its parent has gone.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

SHARES_EACH = 8
"""Shares by worker: none waits long for the last one. Each may open a frame that the share before it has opened."""
SHARES_MAX = 1024
"""Their numbers fill a page: so much a pipe takes at once, whoever has how many of them (pipe(7))."""
KEPT_BYTES = 32 << 20
"""Opened frames that a worker keeps: half of what a reader does, since new memory takes time; files that changed after
they were new have bytes here and there, and would have many opened again if it were much less."""

_SHARE = struct.Struct("<I")
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
    journal: Journal,
    stream: str,
    tasks: Sequence[FileTask],
    shares: Sequence[Sequence[int]],
    owners: bool,
    processes: int,
) -> Iterator[Filled]:
    """Fill all shares of the tasks, by their indexes, several at once; answers come as they are done. Failed when a
    worker dies, or not every task was answered for."""
    workers: dict[int, IO[bytes]] = {}
    answers = 0
    queue = _queue(len(shares))
    try:
        for _ in range(min(processes, len(shares))):
            pid, pipe = _start(journal, stream, tasks, shares, owners, queue)
            workers[pid] = pipe
        for line in lines_of(list(workers.values())):
            answers += 1
            yield _filled(line, tasks)
        for pid in list(workers):
            workers.pop(pid).close()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if code:
                raise Failed(f"a restore worker ended with code {code}", hint="run the restore again")
        if answers != (asked := sum(map(len, shares))):
            raise Failed(f"restore workers answered for {answers} of {asked} files", hint="run the restore again")
    finally:
        os.close(queue)
        for pid, pipe in workers.items():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pipe.close()


def _queue(count: int) -> int:
    """A pipe from which each of the numbers below `count`, at most SHARES_MAX, can be read once, by whoever comes
    first."""
    ours, theirs = os.pipe()
    try:
        os.write(theirs, b"".join(map(_SHARE.pack, range(count))))
    finally:
        os.close(theirs)
    return ours


def _start(
    journal: Journal,
    stream: str,
    tasks: Sequence[FileTask],
    shares: Sequence[Sequence[int]],
    owners: bool,
    queue: int,
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
        code = _work(journal, stream, tasks, shares, owners, (queue, theirs), parent)
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
    shares: Sequence[Sequence[int]],
    owners: bool,
    pipes: tuple[int, int],
    parent: int,
) -> int:
    """What a worker does; its exit code. `pipes`: what is to be done, what was done."""
    gc.disable()  # what the parent has is not ours to take apart
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_DFL)
    if not end_with(parent):
        return _ORPHANED
    _close_all_but(pipes)
    queue, pipe = pipes
    reader = DataReader(journal, cache_bytes=KEPT_BYTES)
    answer = bytearray()
    while number := os.read(queue, _SHARE.size):
        share = shares[_SHARE.unpack(number)[0]]
        for index, filled in zip(share, fill_all([tasks[each] for each in share], reader, stream, owners), strict=True):
            answer += _line(index, filled)
            if len(answer) > _ANSWER_BYTES or filled.bytes_written > SMALL_BYTES:
                _write(pipe, answer)
    _write(pipe, answer)
    return 0


def _close_all_but(pipes: Iterable[int]) -> None:
    at = 3
    for fd in sorted(pipes):
        os.closerange(at, fd)
        at = max(at, fd + 1)
    os.closerange(at, _DESCRIPTORS_MAX)


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
