"""Frozen for a moment, and thawed whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import wait_for

from engine.agent.points.freeze import NOTE, Freeze, thaw_what_was_left
from engine.agent.points.hold import NotHeld
from engine.agent.points.thaw import thaw
from engine.agent.points.volumes import volume_at, volumes
from tests.mounts import mounted

KINDS = ["ext4", "xfs", "btrfs"]


@contextmanager
def beating(path: Path) -> Iterator[list[float]]:
    """A writer; gives the list of times at which its writes ended."""
    ends: list[float] = [time.monotonic()]
    stop = threading.Event()

    def work() -> None:
        with path.open("wb", buffering=0) as file:
            while not stop.wait(0.005):
                file.write(b"x")
                ends.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield ends
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def notes() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def frozen(place: Path, notes: Path, seconds: float = 5.0) -> Freeze:
    made = Freeze([bytes(place)], [], notes, seconds)
    made.prepare()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_writes_while_it_lasts(kind: str, notes: Path) -> None:
    with mounted(kind) as place, beating(place / "file") as ends:
        hold = frozen(place, notes, 30.0)
        began = time.monotonic()
        hold.begin()
        assert (notes / NOTE).exists()
        before = len(ends)
        time.sleep(0.3)
        hold.check()
        assert len(ends) <= before + 1  # one may have ended as it began
        hold.end()
        held_seconds = time.monotonic() - began
        wait_for(lambda: len(ends) > before + 3)
        assert not (notes / NOTE).exists()
        assert 0.3 <= hold.held_seconds <= held_seconds
        hold.end()


def test_the_time_is_limited(notes: Path) -> None:
    with mounted("ext4") as place, beating(place / "file") as ends:
        hold = frozen(place, notes, 0.4)
        hold.begin()
        before = len(ends)
        time.sleep(0.4)
        wait_for(lambda: len(ends) > before + 3)  # though the agent, as one that hangs, does nothing about it
        with pytest.raises(NotHeld, match=r"longer than 0\.4 s"):
            hold.check()
        with pytest.raises(NotHeld, match=r"frozen for 0\.4 s, the most that is allowed"):
            hold.end()


def test_somebody_else_thaws(notes: Path) -> None:
    with mounted("ext4") as place:
        hold = frozen(place, notes)
        hold.begin()
        fd = os.open(place, os.O_RDONLY)
        assert thaw([fd])
        os.close(fd)
        with pytest.raises(NotHeld, match="somebody else thawed"):
            hold.end()


def test_who_thaws_is_killed(notes: Path) -> None:
    with mounted("ext4") as place, beating(place / "file") as ends:
        hold = frozen(place, notes)
        hold.begin()
        assert hold._process is not None
        hold._process.kill()
        hold._process.wait()
        with pytest.raises(NotHeld):
            hold.check()
        with pytest.raises(NotHeld, match="had died"):
            hold.end()
        before = len(ends)
        wait_for(lambda: len(ends) > before)


AGENT = """
import sys, time
from pathlib import Path
from engine.agent.points.freeze import Freeze
hold = Freeze([sys.argv[1].encode()], [], Path(sys.argv[2]), float(sys.argv[3]))
hold.prepare()
hold.begin()
print("frozen", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("what", "limit_seconds"), [(signal.SIGKILL, "600"), (signal.SIGSTOP, "2")])
def test_the_agent_dies_or_hangs(what: signal.Signals, limit_seconds: str, notes: Path) -> None:
    """Its death thaws at once, whatever the limit; who hangs is ended by that."""
    with mounted("ext4") as place, beating(place / "file") as ends:
        argv = [sys.executable, "-c", AGENT, place, notes, limit_seconds]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"frozen\n"
            process.send_signal(what)
            before = len(ends)
            wait_for(lambda: len(ends) > before + 3)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        # The next start finds the note; that nothing is frozen any more is fine.
        assert thaw_what_was_left(notes)
        assert not thaw_what_was_left(notes)


def test_both_were_killed(notes: Path) -> None:
    with mounted("xfs") as place, beating(place / "file") as ends:
        process = subprocess.Popen([sys.executable, "-c", AGENT, place, notes, "60"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"frozen\n"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in [*map(int, children), process.pid]:  # who thaws first: it would thaw
                os.kill(pid, signal.SIGKILL)
            process.wait()
            assert thaw_what_was_left(notes)
            before = len(ends)
            wait_for(lambda: len(ends) > before + 3)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            thaw_what_was_left(notes)


def test_what_the_agent_writes_to_is_not_frozen(tmp_path: Path, notes: Path) -> None:
    with mounted("ext4") as place:
        (place / "home").mkdir()
        with pytest.raises(NotHeld, match="home/spool, which the agent itself writes to"):
            Freeze([bytes(place)], [bytes(place / "home" / "spool")], notes)
        (place / "bound").mkdir()
        hold = Freeze([bytes(place)], [bytes(tmp_path)], notes)
        assert hold._points == [bytes(place)]


def test_all_of_them_or_none(notes: Path) -> None:
    with mounted("ext4") as place, mounted("tmpfs") as other, beating(place / "file") as ends:
        hold = Freeze([bytes(place), bytes(other)], [], notes)
        hold.prepare()
        with pytest.raises(NotHeld, match=f"{other} can't be frozen: Operation not supported"):
            hold.begin()
        hold.end()
        before = len(ends)
        wait_for(lambda: len(ends) > before + 3)


def test_a_file_system_is_known_through_all_its_mounts() -> None:
    with mounted("btrfs") as place:
        subprocess.run(["btrfs", "-q", "subvolume", "create", place / "sub"], check=True, capture_output=True)
        known = volumes()
        one, two = volume_at(bytes(place), known), volume_at(bytes(place / "sub" / "no" / "such"), known)
        assert one is not None and two is not None and one.number == two.number
        assert os.stat(place).st_dev != os.stat(place / "sub").st_dev
