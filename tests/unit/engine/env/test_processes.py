"""Processes: started detached, known again, and nobody else's is ever signalled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.env import processes
from engine.env.clock import SYSTEM
from engine.model.errors import Failed

SLEEPER = "import sys, time; print(*sys.argv[1:], flush=True); time.sleep(300)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., int]]:
    started: list[int] = []

    def start(code: str = SLEEPER, role: str = "node", home: Path = tmp_path) -> int:
        argv = [sys.executable, "-c", code, f"engine.{role}"]
        log = tmp_path / f"{len(started)}.log"
        pid = processes.spawn_detached(argv, {"BCS_HOME": str(home), "X": "1"}, log, tmp_path)
        started.append(pid)
        wait_for(lambda: log.read_bytes().endswith(b"\n"))
        return pid

    yield start
    for pid in started:
        if processes.is_alive(pid):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not processes.is_alive(pid))  # type: ignore[misc]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = SYSTEM.monotonic() + 30
    while not condition():
        assert SYSTEM.monotonic() < deadline, "waited 30 s"
        SYSTEM.sleep(0.005)


def test_pid_files(tmp_path: Path) -> None:
    path = tmp_path / "node.pid"
    assert processes.read_pid(path) is None
    processes.write_pid_file(path)
    assert processes.read_pid(path) == os.getpid()
    processes.write_pid_file(path, 42)
    assert path.read_bytes() == b"42\n"
    assert processes.read_pid(path) == 42


@pytest.mark.parametrize("content", [b"", b"x", b"0", b"-1", b"1 2", b"\xff", b"9" * 30])
def test_a_pid_file_of_something_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "node.pid"
    path.write_bytes(content)
    with pytest.raises(Failed, match=r"node\.pid holds") as caught:
        processes.read_pid(path)
    assert "remove" in caught.value.hint


def test_a_detached_process(start: Callable[..., int], tmp_path: Path) -> None:
    pid = start()
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == tmp_path
    descriptors = {int(fd.name): str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    log = str(tmp_path / "0.log")
    assert descriptors == {0: "/dev/null", 1: log, 2: log}
    assert b"X=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"PATH=" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_the_log_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    code = "import sys; print('out'); print('error', file=sys.stderr)"
    pid = processes.spawn_detached([sys.executable, "-c", code], {}, log, tmp_path)
    wait_for(lambda: not processes.is_alive(pid))
    assert sorted(log.read_text().splitlines()) == ["before", "error", "out"]


def test_it_outlives_its_parent(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from engine.env import processes
argv = [sys.executable, "-c", {SLEEPER!r}, "engine.node"]
print(processes.spawn_detached(argv, {{"BCS_HOME": sys.argv[1]}}, Path(sys.argv[1], "log"), Path(sys.argv[1])))
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[4], capture_output=True, timeout=60, check=True)
    pid = int(done.stdout)
    try:
        assert done.stderr == b""
        assert processes.is_ours(pid, "node", tmp_path)
    finally:
        assert processes.stop(pid, "node", tmp_path, 10)
    wait_for(lambda: not processes.is_alive(pid))


def test_what_can_not_be_started(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="can't start /nowhere/bcs"):
        processes.spawn_detached(["/nowhere/bcs"], {}, tmp_path / "log", tmp_path)
    with pytest.raises(Failed, match="can't start"):
        processes.spawn_detached([sys.executable], {}, tmp_path / "log", tmp_path / "none")


def test_who_is_ours(start: Callable[..., int], tmp_path: Path) -> None:
    pid = start()
    assert processes.is_ours(pid, "node", tmp_path)
    assert processes.is_ours(pid, "engine.node", tmp_path)
    assert not processes.is_ours(pid, "agent", tmp_path)
    assert not processes.is_ours(pid, "nod", tmp_path)
    assert not processes.is_ours(pid, "node", tmp_path / "other")
    assert not processes.is_ours(pid, "node", tmp_path.parent)
    assert not processes.is_ours(os.getpid(), "node", tmp_path)
    assert not processes.is_ours(1, "node", tmp_path)


def test_the_home_is_no_role(start: Callable[..., int], tmp_path: Path) -> None:
    home = tmp_path / "node"
    home.mkdir()
    pid = start(SLEEPER + f"  # {home}/x", role="agent", home=home)
    assert processes.is_ours(pid, "agent", home)
    assert not processes.is_ours(pid, "node", home)


def test_stop(start: Callable[..., int], tmp_path: Path) -> None:
    pid = start()
    assert processes.is_alive(pid)
    assert processes.stop(pid, "node", tmp_path, 30)
    assert not processes.is_alive(pid)
    assert not Path(f"/proc/{pid}").exists()
    assert not processes.stop(pid, "node", tmp_path, 30)


def test_a_stubborn_process_is_killed(start: Callable[..., int], tmp_path: Path) -> None:
    pid = start(STUBBORN)
    assert processes.stop(pid, "node", tmp_path, 0.05)
    assert not processes.is_alive(pid)


@pytest.mark.parametrize(("role", "home"), [("agent", ""), ("node", "other")])
def test_others_are_left_alone(start: Callable[..., int], tmp_path: Path, role: str, home: str) -> None:
    pid = start()
    assert not processes.stop(pid, role, tmp_path / home, 0)
    assert processes.is_alive(pid)
    os.kill(pid, 0)


def test_a_zombie_is_not_alive() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        assert Path(f"/proc/{pid}").exists()
        assert not processes.is_alive(pid)
        assert not processes.is_ours(pid, "pytest", Path("/"))
    finally:
        os.waitpid(pid, 0)
    assert not processes.is_alive(pid)


@pytest.mark.parametrize("pid", [0, -1])
def test_pids_that_are_none(pid: int, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=f"process {pid}"):
        processes.stop(pid, "node", tmp_path, 0)


def test_what_the_machine_has() -> None:
    assert processes.is_root() == (os.geteuid() == 0)
    assert processes.has_systemd() == os.path.isdir("/run/systemd/system")
