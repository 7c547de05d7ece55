"""Writing that never makes a file longer."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from engine.fill.tree.within import write_within


def opened(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    return os.open(path, os.O_RDWR)


def test_all_of_it_lies_inside(tmp_path: Path) -> None:
    fd = opened(tmp_path / "f", bytes(3_000_000))
    data = os.urandom(2_500_000)
    assert write_within(fd, 123_457, data) == len(data)
    assert (tmp_path / "f").read_bytes() == bytes(123_457) + data + bytes(3_000_000 - 123_457 - len(data))
    os.close(fd)


def test_it_stops_at_the_end(tmp_path: Path) -> None:
    fd = opened(tmp_path / "f", b"." * 10_000)
    assert write_within(fd, 9_990, b"x" * 100) == 10
    assert write_within(fd, 10_000, b"x") == 0
    assert write_within(fd, 50_000, b"x") == 0
    assert (tmp_path / "f").read_bytes() == b"." * 9_990 + b"x" * 10
    os.close(fd)


def test_a_file_that_is_cut_meanwhile_never_grows(tmp_path: Path) -> None:
    """Nothing else makes it longer, so any size but none is ours."""
    fd = opened(tmp_path / "f", bytes(400_000))
    stop = threading.Event()
    seen: set[int] = set()

    def cut() -> None:
        while not stop.is_set():
            os.ftruncate(fd, 0)
            for _ in range(20):
                seen.add(os.fstat(fd).st_size)
            os.ftruncate(fd, 400_000)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        for _ in range(150):
            assert write_within(fd, 0, b"y" * 400_000) <= 400_000
    finally:
        stop.set()
        thread.join()
    assert seen == {0}
    os.close(fd)
