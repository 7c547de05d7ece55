"""The machine goes down: everything is killed but what keeps readers of cold files waiting.

A process of its own namespace does what systemd's last one does (systemd-shutdown(8)): SIGTERM to all, SIGKILL to all,
but for processes of root whose command line begins with an @; then it ends, and the namespace with it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.fill.base import FILLING, PRE_ACCESS
from engine.fill.kept import documents
from tests.mounts import mounted
from tests.ondemand.conftest import skip_if_impossible
from tests.ondemand.rig import Like, Recovery, recovery

ROOT = Path(__file__).parents[2]
BLOCK, BIG = 8192, "tree/big"
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")
FIRST = f"""
import ctypes, json, os, signal, sys, time
from pathlib import Path
from engine.fill.base import Place
from engine.fill.life import service, starting
place, cold = Place(Path(sys.argv[1])), sys.argv[2]

def others():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        line = Path("/proc", pid, "cmdline").read_bytes()
        if int(pid) != 1 and line and not line.startswith(b"@") and int(pid) not in readers:
            yield int(pid)

def reaped():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

def reader(at):
    pid = os.fork()
    if not pid:
        fd = os.open(cold, os.O_RDONLY)
        os.pread(fd, 100, at)
        os._exit(0 if os.pread(fd, 100, at) == bytes(100) else 1)
    return pid

readers = []
starting.start_supervisor(place)
end = time.monotonic() + 120
while not all(starting.living(place, role) for role in ("supervisor", "filler", "holder")):
    assert time.monotonic() < end
    time.sleep(0.01)
while not os.path.exists(cold):
    assert time.monotonic() < end
    time.sleep(0.01)
readers = [reader(0)]
time.sleep(0.2)
ctypes.CDLL(None).prctl(15, service.LAST_PROCESS.encode())  # PR_SET_NAME
for what in (signal.SIGTERM, signal.SIGKILL):
    for pid in list(others()):
        os.kill(pid, what)
    time.sleep(0.3)
while list(others()):
    reaped()
    time.sleep(0.01)
readers.append(reader({BLOCK * 100}))
time.sleep(3)  # as long as file systems are unmounted, or longer
reaped()
alive = [pid for pid in readers if os.path.exists(f"/proc/{{pid}}")]
holder = starting.living(place, "holder")
open_files = [os.readlink(f"/proc/{{holder}}/fd/{{fd}}") for fd in os.listdir(f"/proc/{{holder}}/fd")]
print(json.dumps({{"wait": len(alive), "started": len(list(others())), "open": open_files}}))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    tree.mkdir()
    (tree / "big").write_bytes(random.Random(3).randbytes(600 * BLOCK + 77))
    return tree


def test_who_reads_waits_until_the_kernel_stops(source: Path, tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1)")
    with mounted("ext4") as disk:
        skip_if_impossible(PRE_ACCESS, disk)
        with recovery(source, disk / "tree", tmp_path / "home", PRE_ACCESS) as made:
            made.prepare(like=Like(away=True), away_seconds=120)
            done = subprocess.run(
                [
                    *["unshare", "--pid", "--fork", "--mount-proc"],
                    sys.executable,
                    "-c",
                    FIRST,
                    made.place.path,
                    disk / BIG,
                ],
                env={**os.environ, "PYTHONPATH": str(ROOT), "BCS_HOME": str(tmp_path / "home")},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr + made.log()
            told = json.loads(done.stdout)
            assert told["wait"] == 2, "somebody has read zeros"
            assert told["started"] == 0, "nothing is begun again in a machine that goes down"
            assert not [path for path in told["open"] if str(tmp_path) in path], "a file system could not be unmounted"


def test_a_second_supervisor_ends_or_waits(source: Path, tmp_path: Path) -> None:
    """Whoever is begun beside one that lives leaves it alone; one that was given nothing goes on when that one dies."""
    with mounted("ext4") as disk:
        skip_if_impossible(PRE_ACCESS, disk)
        with recovery(source, disk / "tree", tmp_path / "home", PRE_ACCESS) as made:
            made.begin()
            made.wait(lambda: len(made.processes()) == 3, "all three to live")
            before, guard = made.processes(), documents.read_state(made.place).guard
            argv = [sys.executable, "-m", "engine.fill", "--role", "supervisor", "--place", str(made.place.path)]
            environment = {"PYTHONPATH": str(ROOT), "BCS_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
            given = subprocess.run([*argv, "--fd", "0", "--guard", guard], env=environment, timeout=120)
            assert given.returncode == 0
            standby = subprocess.Popen(argv, env=environment)
            try:
                assert made.processes() == before
                made.kill(before)
                made.wait(lambda: standby.pid in made.processes(), "the other one to go on")
                made.wait(lambda: documents.read_state(made.place).guard != guard, "the tree to be guarded again")
                assert documents.read_state(made.place).state == FILLING
                made.fill()
                assert standby.wait(120) == 0
            finally:
                standby.send_signal(signal.SIGKILL)
                standby.wait()
            assert differences(made) == []


def differences(made: Recovery) -> list[str]:
    return [each for each in made.differences() if "mtime" not in each]
