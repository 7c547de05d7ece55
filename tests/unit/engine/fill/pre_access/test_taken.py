"""Events that a filler has taken: what the next one finds. Real processes are killed with real events in hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.fill.base import ColdFile
from engine.fill.pre_access import fanotify as fan
from engine.fill.pre_access import mechanism
from engine.fill.pre_access.serving import Serving
from engine.fill.pre_access.taken import Slots

TAKER = """
import sys
from pathlib import Path
from engine.fill.pre_access.taken import Slots
slots = Slots(Path(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    slots.take(int(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


class Fills:
    """Stands for the filling: nothing is ever ready, everything is noted, and comes when `gate` is open."""

    cutters: set[int] = set()

    def __init__(self, files: Sequence[ColdFile]) -> None:
        self._files = files
        self.asked: list[tuple[int, int, int]] = []
        self.gate = threading.Event()

    def number_of(self, dev: int, ino: int) -> int | None:
        return next((file.number for file in self._files if (file.dev, file.ino) == (dev, ino)), None)

    def ready(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> bool:
        return False

    def ensure(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> None:
        self.asked.append((number, offset, length))
        assert self.gate.wait(120)

    def may_be_cut(self, number: int) -> None:
        pass

    def files(self) -> Sequence[ColdFile]:
        return self._files


@pytest.fixture
def group(tmp_path: Path) -> Iterator[int]:
    why = mechanism.why_not(os.fsencode(tmp_path))
    if why:
        pytest.skip(why)
    fd = fan.fanotify_init(mechanism._FLAGS, os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def marked(group: int, path: Path, number: int) -> ColdFile:
    path.write_bytes(b"0" * 50_000)
    fan.fanotify_mark(group, fan.FAN_MARK_ADD, fan.FAN_PRE_ACCESS, os.fsencode(path))
    status = path.stat()
    return ColdFile(number, number, status.st_dev, status.st_ino, 50_000, 0, 0, os.fsencode(path.name))


def reader(path: Path, offset: int) -> subprocess.Popen[bytes]:
    program = f"import os; os.pread(os.open({str(path)!r}, os.O_RDONLY), 4096, {offset}); print('read', flush=True)"
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


def taken_and_killed(group: int, slots: Path, count: int) -> None:
    command = [sys.executable, "-c", TAKER, str(group), str(slots), str(count)]
    with subprocess.Popen(command, pass_fds=[group], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
        assert taker.stdout is not None
        assert taker.stdout.readline() == b"taken\n"
        taker.send_signal(signal.SIGKILL)


def test_the_next_one_answers_what_was_taken(group: int, tmp_path: Path) -> None:
    files = [marked(group, tmp_path / f"f{number}", number) for number in range(3)]
    readers = [reader(tmp_path / f"f{number}", 8192 * number) for number in range(3)]
    taken_and_killed(group, tmp_path / "taken", 3)
    slots, fills = Slots(tmp_path / "taken"), Fills(files)
    assert {(each.dev, each.ino) for each in slots.stale} == {(file.dev, file.ino) for file in files}
    serving = Serving(group, slots, fills)  # type: ignore[arg-type]
    serving.start()
    assert all(each.poll() is None for each in readers)
    fills.gate.set()
    for each in readers:
        assert each.communicate(timeout=300)[0] == b"read\n"
    assert sorted(fills.asked) == [(number, 8192 * number, 4096) for number in range(3)]
    serving.stop()
    assert Slots(tmp_path / "taken").stale == []


def test_one_without_a_note_waits_for_all_files(group: int, tmp_path: Path) -> None:
    files = [marked(group, tmp_path / f"f{number}", number) for number in range(3)]
    waiting = reader(tmp_path / "f1", 0)
    taken_and_killed(group, tmp_path / "taken", 1)
    forget(tmp_path / "taken")
    slots, fills = Slots(tmp_path / "taken"), Fills(files)
    assert [each.ino for each in slots.stale] == [None]
    serving = Serving(group, slots, fills)  # type: ignore[arg-type]
    serving.start()
    fills.gate.set()
    assert waiting.communicate(timeout=300)[0] == b"read\n"
    assert fills.asked == [(number, 0, 0) for number in range(3)]
    serving.stop()


def test_numbers_of_former_descriptors_are_not_mixed_up(group: int, tmp_path: Path) -> None:
    """A new event never gets the answer of an old one, though the kernel knows both by a number alone."""
    files = [marked(group, tmp_path / f"f{number}", number) for number in range(2)]
    old = reader(tmp_path / "f0", 4096)
    taken_and_killed(group, tmp_path / "taken", 1)
    slots, fills = Slots(tmp_path / "taken"), Fills(files)
    serving = Serving(group, slots, fills)  # type: ignore[arg-type]
    serving.start()
    new = reader(tmp_path / "f1", 8192)
    while len(fills.asked) < 2 and new.poll() is None:
        threading.Event().wait(0.01)
    assert old.poll() is None and new.poll() is None
    fills.gate.set()
    assert [each.communicate(timeout=300)[0] for each in (old, new)] == [b"read\n", b"read\n"]
    assert sorted(fills.asked) == [(0, 4096, 4096), (1, 8192, 4096)]
    serving.stop()


def forget(slots: Path) -> None:
    """As if its taker had been killed just before he noted which file it is of."""
    from engine.fill.pre_access import taken

    data = bytearray(slots.read_bytes())
    data[taken._NOTED_AT :: taken._SLOT_BYTES] = bytes(taken.SLOTS)
    slots.write_bytes(data)
