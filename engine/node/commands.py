"""Commands that users of the site run on its node: each in a process of its own, that gets a task on standard input
and no more than a bounded time; few at once, fewer for one user, and none for somebody who has gone.

What the commands are is not ours: who starts the node says by which program they run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.env.own_directory import OwnDirectory
from engine.model.errors import BcsError, Failed
from engine.model.policy.access import ROLES
from engine.node.api.bodies import Busy
from engine.wire import output

VIEWER, OPERATOR, _, _ = ROLES
NEEDS = {
    "points": VIEWER,
    "ls": VIEWER,
    "diff": VIEWER,
    "log": VIEWER,
    "search": VIEWER,
    "query": VIEWER,
    "report": VIEWER,
    "history": VIEWER,
    "cat": OPERATOR,
    "check": OPERATOR,
    "drill": OPERATOR,
}
"""The commands that may be run, and the role that each needs. Nobody sees a group without that role on it."""
READ_CONTENT = frozenset({"--content", "--sha256", "--blake3"})
"""Options that tell what is in files, or whether it is what somebody thinks: they need what `cat` needs."""
OF_THE_SITE = frozenset({"check"})
"""Commands that look at all of the journal: the role is needed on every group."""

AT_ONCE, AT_ONCE_A_USER = 4, 2
WAIT_SECONDS = 30.0
SECONDS_MAX = 300.0
SECONDS_MAX_OF = {"check": 4 * 3600.0, "drill": 24 * 3600.0, "cat": 3600.0, "report": 900.0}
ALIVE_SECONDS = 10.0
PIECE_BYTES = 64 << 10
_KEPT = ("PATH", "PYTHONPATH", "PYTHONSAFEPATH", "LANG", "LC_ALL", "HOME")


def reads_content(argv: Sequence[str]) -> bool:
    """Whether a command's answer tells what is in files."""
    return argv[0] == "cat" or any(each.split("=", 1)[0] in READ_CONTENT for each in argv[1:])


def need_of(argv: Sequence[str]) -> str:
    """The role that a command, of those in NEEDS, needs with these options."""
    return OPERATOR if reads_content(argv) else NEEDS[argv[0]]


@dataclass(slots=True)
class Commands:
    """The processes that run. Lives on the event loop. `program` runs a command; `home` is the node's."""

    program: tuple[str, ...]
    home: Path
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _of_user: Counter[str] = field(default_factory=Counter)
    _turns: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    _running: set[asyncio.subprocess.Process] = field(default_factory=set)
    _stopping: bool = False

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it within the block. Busy when it does not come."""
        if self._of_user[user] >= 2 * AT_ONCE_A_USER:
            raise Busy(f"{AT_ONCE_A_USER} commands of yours run, as many wait", hint="try again once they have ended")
        self._of_user[user] += 1
        own = self._turns.setdefault(user, asyncio.Semaphore(AT_ONCE_A_USER))
        try:
            async with _in_time(own), _in_time(self._free):
                if self._stopping:
                    raise Busy("the node is stopping", hint="try again once it is back")
                yield
        finally:
            self._of_user[user] -= 1
            if not self._of_user[user]:
                del self._of_user[user], self._turns[user]

    async def run(self, task: Mapping[str, Any], zone: str, seconds_max: float) -> AsyncGenerator[bytes, None]:
        """The frames of a command's output, the last one included. However this ends, the process has ended too."""
        scratch = OwnDirectory("command")
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self.program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**environment(self.home, zone), "TMPDIR": str(scratch.path)},
                cwd="/",
                start_new_session=True,
            )
            self._running.add(process)
            async with aclosing(_output(process, task, seconds_max)) as frames:
                async for each in frames:
                    yield each
        finally:
            await asyncio.shield(self._end(process, scratch))

    async def _end(self, process: asyncio.subprocess.Process | None, scratch: OwnDirectory) -> None:
        """Nothing of a command stays: no process, and no file that one which was killed could not remove."""
        if process is not None:
            self._running.discard(process)
            _kill(process)
            # Pipes of which nobody reads the rest are waited for, and asyncio has no public way to close them.
            process._transport.close()  # type: ignore[attr-defined]
            await process.wait()
        await asyncio.to_thread(scratch.remove)

    def stop(self) -> None:
        """End all that run, and let none begin."""
        self._stopping = True
        for process in self._running:
            _kill(process)


@asynccontextmanager
async def _in_time(turns: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of the turns, within the block. Busy when none is free for long."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await turns.acquire()
    except TimeoutError:
        raise Busy("the node runs as many commands as it may", hint="try again in a moment") from None
    try:
        yield
    finally:
        turns.release()


async def _output(
    process: asyncio.subprocess.Process, task: Mapping[str, Any], seconds_max: float
) -> AsyncGenerator[bytes, None]:
    assert process.stdin and process.stdout and process.stderr
    waiting: asyncio.Queue[bytes] = asyncio.Queue(4)
    pipes = ((process.stdout, output.OUT), (process.stderr, output.ERR))
    pumps = [asyncio.create_task(_pump(pipe, kind, waiting)) for pipe, kind in pipes]
    giving = asyncio.create_task(_give(process.stdin, json.dumps(task).encode()))
    late = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(seconds_max, _too_late, process, late)
    try:
        while not (all(pump.done() for pump in pumps) and waiting.empty()):
            try:
                yield await asyncio.wait_for(waiting.get(), ALIVE_SECONDS)
            except TimeoutError:
                yield output.frame(output.ALIVE)
        code = await process.wait()
    finally:
        timer.cancel()
        await _ended([giving, *pumps])
    if late.is_set():
        yield failed(Failed(f"the command took longer than {seconds_max:g} s", hint="ask for less"))
    elif code < 0:
        told = f"the command was ended by signal {-code}: it needed too much time or memory, or the node stops"
        yield failed(Failed(told, hint="ask for less"))
    else:
        yield output.frame(output.END, json.dumps({"exit": code}).encode())


def _too_late(process: asyncio.subprocess.Process, late: asyncio.Event) -> None:
    late.set()
    _kill(process)


async def _give(pipe: asyncio.StreamWriter, task: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(task)
        await pipe.drain()
        pipe.close()


async def _pump(pipe: asyncio.StreamReader, kind: bytes, waiting: asyncio.Queue[bytes]) -> None:
    while piece := await pipe.read(PIECE_BYTES):
        await waiting.put(output.frame(kind, piece))
    await waiting.put(output.frame(output.ALIVE))  # so that who waits sees that this one is done


def failed(error: BcsError) -> bytes:
    return output.frame(output.FAILED, json.dumps(error.as_json()).encode())


def environment(home: Path, zone: str) -> dict[str, str]:
    """All that a command's process gets of ours: nothing of the node's own secrets, were they in its environment."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "BCS_HOME": str(home), "PYTHONUTF8": "1", **({"TZ": zone} if zone else {})}


def _kill(process: asyncio.subprocess.Process) -> None:
    """End the process and all that it started: they are a session of their own."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Streamed(Response):
    """An answer in pieces. When nobody is there to read it any more, or it is read too slowly, making it ends."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], seconds_max: float) -> None:
        super().__init__(media_type=output.MEDIA_TYPE)
        del self.headers["content-length"]
        self._pieces, self._seconds_max = pieces, seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, timeout=self._seconds_max, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await _ended([sending, gone])

    async def _send(self, send: Send) -> None:
        async with aclosing(self._pieces) as pieces:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
