"""Who serves a mount may be killed at any moment: its users wait, and then all is as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.fill.base import Place, Recipe
from engine.fill.by_fuse import mechanism

from . import mounted as serving
from . import operations
from .mounted import CAN_MOUNT, prepare

pytestmark = pytest.mark.skipif(not CAN_MOUNT, reason="mounting needs root and /dev/fuse")


@dataclass(slots=True)
class Server:
    """A process that serves the mount; `resends`: the kernel is asked to ask again after a death."""

    base: Path
    place: Place
    recipe: Recipe
    fd: int
    passes: bool
    resends: bool
    process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        return Path(self.recipe.dir)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, serving.__file__, str(self.base), str(self.fd), "passes" if self.passes else "answers"],
            pass_fds=[self.fd],
            env={**os.environ, "PYTHONPATH": str(Path(mechanism.__file__).parents[3])},
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.resends:
            mechanism.orphaned(self.place, self.recipe, self.fd)


@contextmanager
def server(base: Path, passes: bool = True, resends: bool = True) -> Iterator[Server]:
    place, recipe = prepare(base)
    base.chmod(0o755)
    made = Server(base, place, recipe, mechanism.hold(place, recipe), passes, resends)
    made.start()
    try:
        yield made
    finally:
        made.kill()
        mechanism.let_go(place, recipe, made.fd)


@pytest.mark.parametrize("passes", [True, False], ids=["passed", "answered"])
@pytest.mark.parametrize("resends", [True, False], ids=["asked again", "from the memory"])
def test_killed_again_and_again(tmp_path: Path, passes: bool, resends: bool) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    wanted = json.loads(subprocess.check_output([sys.executable, "-m", operations.__name__, str(plain)]))
    chance = random.Random(f"{passes}{resends}")
    deaths = 0
    with server(tmp_path, passes, resends) as made:
        os.chmod(made.directory, 0o755)
        running = subprocess.Popen(
            [sys.executable, "-m", operations.__name__, str(made.directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.set_blocking(running.stdout.fileno(), True)  # type: ignore[union-attr]
        end = time.monotonic() + 15
        while running.poll() is None and time.monotonic() < end:
            try:
                running.wait(0.3 + chance.random() * 0.3)
            except subprocess.TimeoutExpired:
                made.kill()
                deaths += 1
                made.start()
        told, wrong = running.communicate(timeout=300)
        assert running.returncode == 0, wrong.decode()[-2000:]
        got = json.loads(told)
        for one, other in zip(wanted, got, strict=True):
            assert other[:2] == one[:2]
            assert other[2] == one[2], one[0]
    assert deaths > 3


def test_files_that_are_open_go_on(tmp_path: Path) -> None:
    """One in use, one removed, one never named, one without permission to open it again, a listing half read."""
    with server(tmp_path, passes=False) as made:
        directory = made.directory
        (directory / "file").write_bytes(b"x" * 100_000)
        (directory / "gone").write_bytes(b"gone, and still open")
        for number in range(500):
            (directory / f"n{number}").touch()
        used = os.open(directory / "file", os.O_RDWR)
        gone = os.open(directory / "gone", os.O_RDWR)
        os.unlink(directory / "gone")
        nameless = os.open(directory, os.O_TMPFILE | os.O_RDWR)
        os.write(nameless, b"nameless")
        locked = os.open(directory / "locked", os.O_CREAT | os.O_RDWR, 0)
        seen = []
        with os.scandir(directory) as listing:
            for entry in listing:
                seen.append(entry.name)
                if len(seen) == 100:
                    made.kill()
                    made.start()
        assert sorted(seen) == sorted(os.listdir(directory))
        assert len(seen) == 502
        os.pwrite(used, b"after", 50_000)
        assert os.pread(used, 10, 49_998) == b"xxafterxxx"
        assert os.pread(gone, 100, 0) == b"gone, and still open"
        assert os.fstat(gone).st_nlink == 0
        assert os.pread(nameless, 100, 0) == b"nameless"
        assert os.write(locked, b"locked") == 6
        here = os.open(directory, os.O_RDONLY)
        os.link(f"/proc/self/fd/{nameless}", "named", dst_dir_fd=here, follow_symlinks=True)
        for fd in (used, gone, nameless, locked, here):
            os.close(fd)
        assert (directory / "named").read_bytes() == b"nameless"
        assert not (directory / "gone").exists()


def test_nobody_serves_for_a_while_and_callers_wait(tmp_path: Path) -> None:
    with server(tmp_path) as made:
        (made.directory / "file").write_text("there")
        made.kill()
        reading = subprocess.Popen(["cat", made.directory / "file"], stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            reading.wait(0.5)
        made.start()
        assert reading.communicate(timeout=300)[0] == b"there"
