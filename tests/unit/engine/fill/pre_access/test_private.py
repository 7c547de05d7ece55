"""The private way to the files: whatever their names, unseen by anybody."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.pre_access import fanotify as fan
from engine.fill.pre_access import mechanism
from engine.fill.pre_access.private import Private
from engine.fill.tree import cover
from engine.fill.tree.handles import handle_of

FAN_MODIFY, FAN_CLOSE_WRITE = 0x2, 0x8


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    why = mechanism.why_not(os.fsencode(tmp_path))
    if why:
        pytest.skip(why)
    (tmp_path / "tree" / "dir").mkdir(parents=True)
    (tmp_path / "tree" / "dir" / "file").write_bytes(b"." * 10_000)
    return tmp_path / "tree"


@pytest.fixture
def private(tree: Path) -> Iterator[Private]:
    found = Private(cover.beneath(os.fsencode(tree), "test"))
    yield found
    found.close()


def handle(path: Path) -> bytes:
    fd = os.open(path, os.O_PATH)
    try:
        return handle_of(fd)
    finally:
        os.close(fd)


def seen(group: int) -> list[int]:
    """The masks of what a group was told."""
    found = []
    try:
        while data := os.read(group, 24):
            found.append(int.from_bytes(data[8:16], "little"))
            os.close(int.from_bytes(data[16:20], "little"))
    except BlockingIOError:
        pass
    return found


def test_writes_are_seen_by_nobody(tree: Path, private: Private) -> None:
    path = tree / "dir" / "file"
    group = fan.fanotify_init(fan.FAN_CLASS_NOTIF | fan.FAN_NONBLOCK | fan.FAN_CLOEXEC, os.O_RDONLY)
    fan.fanotify_mark(group, fan.FAN_MARK_ADD, FAN_MODIFY | FAN_CLOSE_WRITE, os.fsencode(path))
    fd = private.open(handle(path))
    os.pwrite(fd, b"filled", 5000)
    os.close(fd)
    assert seen(group) == []
    path.write_bytes(b"by somebody else")
    assert seen(group) != []
    os.close(group)


def test_a_file_is_found_where_it_is_now(tree: Path, private: Private, tmp_path: Path) -> None:
    wanted = handle(tree / "dir" / "file")
    (tree / "dir" / "file").rename(tmp_path / "elsewhere")
    fd = private.open(wanted)
    os.pwrite(fd, b"filled", 0)
    os.close(fd)
    assert (tmp_path / "elsewhere").read_bytes().startswith(b"filled")
    (tmp_path / "elsewhere").unlink()
    with pytest.raises(OSError):
        private.open(wanted)


def test_each_thread_gets_its_own_file(tree: Path, private: Private) -> None:
    """The descriptor comes with an event: it must be the event of this very opening."""
    paths = [tree / f"f{number}" for number in range(8)]
    for path in paths:
        path.write_bytes(b"0")
    handles = [handle(path) for path in paths]
    wrong: list[Path] = []

    def open_often(number: int) -> None:
        for _ in range(50):
            fd = private.open(handles[number])
            if os.fstat(fd).st_ino != paths[number].stat().st_ino:
                wrong.append(paths[number])
            os.close(fd)

    threads = [threading.Thread(target=open_often, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
