"""Processes that run commands: in bounded time, few at once, gone with whoever asked."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from engine.node import commands
from engine.node.api.bodies import Busy
from engine.node.commands import Commands, Streamed, environment
from engine.wire import output


def running(program: str, home: Path) -> Commands:
    return Commands((sys.executable, "-c", program), home)


def asyncio_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(test(tmp_path), 60))

    return run


async def frames_of(ran: Any) -> list[tuple[bytes, bytes]]:
    content = b"".join([piece async for piece in ran])
    found = []
    while content:
        length = int.from_bytes(content[1:5], "big")
        found.append((content[:1], content[5 : 5 + length]))
        content = content[5 + length :]
    return [each for each in found if each[0] != output.ALIVE]


@asyncio_test
async def test_output_errors_and_exit_code(tmp_path: Path) -> None:
    program = "import json,sys; t=json.load(sys.stdin); print(t['x']); sys.stderr.write('err'); sys.exit(6)"
    found = await frames_of(running(program, tmp_path).run({"x": "é"}, "", 30.0))
    assert sorted(found[:-1]) == [(output.ERR, b"err"), (output.OUT, "é\n".encode())]
    assert found[-1] == (output.END, b'{"exit": 6}')


@asyncio_test
async def test_much_output_comes_whole_and_in_order(tmp_path: Path) -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 8192)"
    found = await frames_of(running(program, tmp_path).run({}, "", 30.0))
    assert b"".join(content for kind, content in found if kind == output.OUT) == bytes(range(256)) * 8192


@asyncio_test
async def test_too_long_is_ended(tmp_path: Path) -> None:
    program = "import subprocess,sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(99)'])"
    begun = time.monotonic()
    found = await frames_of(running(program, tmp_path).run({}, "", 0.5))
    assert time.monotonic() - begun < 60
    assert found[-1][0] == output.FAILED and "longer than 0.5 s" in json.loads(found[-1][1])["error"]["message"]


@asyncio_test
async def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    found = await frames_of(running("import os; os.kill(os.getpid(), 9)", tmp_path).run({}, "", 30.0))
    assert "signal 9" in json.loads(found[-1][1])["error"]["message"]


@asyncio_test
async def test_no_file_stays(tmp_path: Path) -> None:
    program = "import tempfile,sys,os; print(tempfile.mkdtemp(), flush=True); os.kill(os.getpid(), 9)"
    found = await frames_of(running(program, tmp_path).run({}, "", 30.0))
    made = Path(found[0][1].decode().strip())
    assert made.parent.name.startswith("bcs-command-") and not made.parent.exists()


PIDS = "import os,subprocess,sys,time; c=subprocess.Popen([sys.executable,'-c','import time; time.sleep(99)']); "
PIDS += "print(os.getpid(), c.pid, flush=True); time.sleep(99)"


@asyncio_test
async def test_nobody_waits_any_more(tmp_path: Path) -> None:
    """The answer is given up, and with it the process and all that it started."""
    told: list[bytes] = []
    here = asyncio.Event()

    async def send(message: Any) -> None:
        told.append(message.get("body", b""))
        if any(body[:1] == output.OUT for body in told):
            here.set()

    async def receive() -> Any:
        await here.wait()
        return {"type": "http.disconnect"}

    await Streamed(running(PIDS, tmp_path).run({}, "", 60.0), 60.0)({}, receive, send)
    pids = [int(pid) for body in told if body[:1] == output.OUT for pid in body[5:].split()]
    assert len(pids) == 2
    while any(lives(pid) for pid in pids):
        await asyncio.sleep(0.02)


@asyncio_test
async def test_who_does_not_read_holds_nothing_for_long(tmp_path: Path) -> None:
    several = running("import sys; sys.stdout.write('x' * 10_000_000)", tmp_path)

    async def send(message: Any) -> None:
        if message.get("body"):
            await asyncio.sleep(99)

    async def receive() -> Any:
        await asyncio.sleep(99)

    await Streamed(several.run({}, "", 60.0), 0.5)({}, receive, send)
    assert not several._running


@asyncio_test
async def test_a_stop_ends_all(tmp_path: Path) -> None:
    several = running("import time; time.sleep(99)", tmp_path)
    waiting = [asyncio.create_task(frames_of(several.run({}, "", 60.0))) for _ in range(2)]
    while len(several._running) < 2:
        await asyncio.sleep(0.02)
    several.stop()
    for found in await asyncio.gather(*waiting):
        assert found[-1][0] == output.FAILED
    with pytest.raises(Busy):
        async with several.turn("me"):
            pass


@asyncio_test
async def test_turns(tmp_path: Path) -> None:
    several = running("", tmp_path)
    entered, leave = [], asyncio.Event()

    async def take(user: str) -> None:
        async with several.turn(user):
            entered.append(user)
            await leave.wait()

    tasks = [asyncio.create_task(take("me")) for _ in range(2 * commands.AT_ONCE_A_USER)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="of yours"):
        await take("me")
    others = [asyncio.create_task(take(f"other {n}")) for n in range(commands.AT_ONCE)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert entered.count("me") == commands.AT_ONCE_A_USER and len(entered) == commands.AT_ONCE
    leave.set()
    await asyncio.gather(*tasks, *others)
    assert len(entered) == len(tasks) + len(others) and not several._of_user and not several._turns


def test_the_processes_get_none_of_the_nodes_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCS_TOKEN", "secret")
    monkeypatch.setenv("SMTP_PASSWORD", "secret")
    found = environment(tmp_path, "Europe/Berlin")
    assert "secret" not in found.values() and found["TZ"] == "Europe/Berlin" and found["BCS_HOME"] == str(tmp_path)


def lives(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}") is not None and b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
