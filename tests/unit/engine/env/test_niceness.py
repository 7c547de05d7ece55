"""A thread that gives way gets little beside one that does not, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.env import niceness

KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
SPIN = """
import os, sys, threading
from engine.env import niceness
os.sched_setaffinity(0, {int(sys.argv[1])})
if sys.argv[2] == "gives-way":
    niceness.give_way()
print("ready", flush=True)
sys.stdin.readline()
def stop():
    print(os.times().user, flush=True)
    os._exit(0)
threading.Timer(1.0, stop).start()
while True:
    pass
"""


def nice_of_this_thread() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(not niceness.may_come_back(), reason="this process may not take its nice value back")
def test_a_thread_gives_way_alone_and_comes_back() -> None:
    usual, elsewhere = nice_of_this_thread(), list[int]()

    def usual_again() -> None:
        niceness.as_usual()
        elsewhere.append(nice_of_this_thread())

    with niceness.giving_way():
        assert nice_of_this_thread() == niceness.NICE_AT_REST
        begun = threading.Thread(target=lambda: elsewhere.append(nice_of_this_thread()))
        begun.start()
        begun.join()
        again = threading.Thread(target=usual_again)
        again.start()
        again.join()
    assert elsewhere == [niceness.NICE_AT_REST, usual]
    assert nice_of_this_thread() == usual


@pytest.mark.skipif(not niceness.may_come_back(), reason="this process may not take its nice value back")
def test_beside_one_that_does_not_it_gets_little() -> None:
    """Two processes on one processor for a second: by their weights one has a tenth of what the other has."""
    cpu = str(min(os.sched_getaffinity(0)))
    spinning = [
        subprocess.Popen(
            [sys.executable, "-c", SPIN, cpu, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for how in ("gives-way", "as-usual")
    ]
    for each in spinning:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    for each in spinning:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    polite, usual = (float(each.communicate(timeout=300)[0]) for each in spinning)
    assert polite < usual / 2, (polite, usual)


SLICES = """
import ctypes, struct, subprocess, sys, threading
from engine.env import niceness
libc = ctypes.CDLL(None)
def slice_ns():
    told = ctypes.create_string_buffer(56)
    assert libc.syscall(niceness._SCHED_SETATTR + 1, 0, told, 56, 0) == 0
    return struct.unpack_from("Q", told, 24)[0]
if sys.argv[1] == "own":
    before = slice_ns()
    niceness.make_room_at_once()
    inherited = []
    begun = threading.Thread(target=lambda: inherited.append(slice_ns()))
    begun.start()
    begun.join()
    started = int(subprocess.check_output([sys.executable, "-c", sys.argv[2], "child", ""]))
    print(before, slice_ns(), inherited[0], started)
else:
    print(slice_ns())
"""


@pytest.mark.skipif(KERNEL < (6, 12), reason="this kernel has no slices of one thread's own")
@pytest.mark.skipif(niceness._SCHED_SETATTR is None, reason="this machine's system calls are not known")
def test_a_thread_that_makes_room_has_the_longest_slice_and_nobody_inherits_it() -> None:
    told = subprocess.check_output([sys.executable, "-c", SLICES, "own", SLICES], text=True)
    before, own, thread, child = map(int, told.split())
    assert own == niceness.SLICE_NS
    assert before < own and thread < own and child < own


class OwnSession:
    """A session's nice value in a file, and what this process may."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *, leads: bool = True, may: bool = True) -> None:
        path.write_text("/autogroup-7 nice 3")
        monkeypatch.setattr(niceness, "may_come_back", lambda: may)
        monkeypatch.setattr(os, "getsid", lambda _: os.getpid() if leads else 1)
        self.path, self.session = path, niceness.Session(path)

    def told(self) -> str:
        return self.path.read_text()


def test_a_session_hurries_while_one_of_its_threads_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnSession(tmp_path / "autogroup", monkeypatch)
    own.session.hurry(1, False)
    assert own.told() == str(niceness.NICE_AT_REST)
    own.session.hurry(1, True)
    own.session.hurry(2, True)
    assert own.told() == "3"
    own.session.hurry(1, False)
    assert own.told() == "3"
    own.session.hurry(2, False)
    assert own.told() == str(niceness.NICE_AT_REST)


def test_what_the_kernel_did_not_take_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnSession(tmp_path / "autogroup", monkeypatch)
    write, refused = Path.write_text, [True]

    def once_busy(path: Path, text: str) -> int:
        if refused.pop() if refused else False:
            raise BlockingIOError
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", once_busy)
    own.session.hurry(1, False)
    assert own.told() == "/autogroup-7 nice 3"
    own.session.hurry(1, False)
    assert own.told() == str(niceness.NICE_AT_REST)


@pytest.mark.parametrize("can", [{"leads": False}, {"may": False}])
def test_a_session_of_others_or_one_that_could_not_come_back_stays(
    can: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OwnSession(tmp_path / "autogroup", monkeypatch, **can)
    own.session.hurry(1, False)
    assert own.told() == "/autogroup-7 nice 3"
