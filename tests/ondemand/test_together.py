"""Many at once: readers of one range, writers beside the background, those who cut files under the filler's hands."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.fill.base import PRE_ACCESS
from tests.ondemand.rig import Like, Recovery, recovery

BLOCK = 8192
SIZE = 30 * BLOCK + 99
FILES = 24
LONG_AGO = 10**18


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tree = tmp_path / "source"
    tree.mkdir()
    data = random.Random(3)
    for number in range(FILES):
        (tree / f"f{number}").write_bytes(data.randbytes(SIZE))
        os.utime(tree / f"f{number}", ns=(LONG_AGO, LONG_AGO))
    return tree


@pytest.fixture
def made(source: Path, disk: Path, tmp_path: Path, mechanism: str) -> Iterator[Recovery]:
    with recovery(source, disk / "tree", tmp_path / "home", mechanism) as found:
        yield found


def test_many_readers_of_one_range_fetch_it_once(made: Recovery, source: Path) -> None:
    made.begin(like=Like(read_seconds=0.2))
    path = made.dir / "f0"
    expected = (source / "f0").read_bytes()[:5000]

    def look(_: int) -> bool:
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.pread(fd, 5000, 0) == expected
        finally:
            os.close(fd)

    with ThreadPoolExecutor(40) as threads:
        assert all(threads.map(look, range(40)))
    assert made.reads().count(("f0", 0)) == 1


def test_writes_survive_the_background(made: Recovery, source: Path) -> None:
    """Everybody writes where it is cold, warm, or just being filled: afterwards it is what a plain file would be."""
    made.begin(hold_back=False, like=Like(read_seconds=0.01))
    held = {name: bytearray((source / name).read_bytes()) for name in os.listdir(source)}

    def change(name: str) -> None:
        chosen = random.Random(name)
        fd = os.open(made.dir / name, os.O_RDWR)
        model = held[name]
        for _ in range(40):
            at, count = chosen.randrange(SIZE + BLOCK), chosen.randrange(1, 3 * BLOCK)
            if chosen.random() < 0.1:
                cut = chosen.randrange(len(model) + 1)
                os.ftruncate(fd, cut)
                del model[cut:]
                continue
            data = chosen.randbytes(count)
            os.pwrite(fd, data, at)
            model.extend(bytes(max(0, at + count - len(model))))
            model[at : at + count] = data
        os.close(fd)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(change, held))
    made.fill()
    for name, model in held.items():
        assert (made.dir / name).read_bytes() == model, name


def test_one_write_shows_in_the_time(made: Recovery, source: Path) -> None:
    """A fill puts back the time that it found, and never that of before a write."""
    made.begin(hold_back=False, like=Like(read_seconds=0.005))

    def write(name: str) -> None:
        fd = os.open(made.dir / name, os.O_RDWR)
        os.pwrite(fd, b"new", 100)
        os.close(fd)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, sorted(os.listdir(source))[: FILES // 2]))
    made.fill()
    for number, name in enumerate(sorted(os.listdir(source))):
        written = number < FILES // 2
        assert ((made.dir / name).stat().st_mtime_ns > LONG_AGO) == written, name


def test_files_are_cut_under_the_fillers_hands(made: Recovery, source: Path) -> None:
    """O_TRUNC tells nobody: never is anything old in such a file again, and never is it longer."""
    made.begin(hold_back=False)
    made.want(finish=True)
    for name in sorted(os.listdir(source), key=lambda name: int(name[1:]), reverse=True):
        path = made.dir / name
        with path.open("wb") as file:
            assert os.fstat(file.fileno()).st_size == 0
            file.write(b"new " + name.encode())
        assert path.read_bytes() == b"new " + name.encode()
    made.fill()
    for name in os.listdir(source):
        assert (made.dir / name).read_bytes() == b"new " + name.encode()


def test_cut_and_grown_again_while_it_is_read(made: Recovery, source: Path) -> None:
    made.begin(like=Like(read_seconds=0.003))
    stop = threading.Event()
    path = made.dir / "f1"

    def read_on() -> None:
        while not stop.is_set():
            path.read_bytes()

    with ThreadPoolExecutor(2) as threads:
        running = [threads.submit(read_on) for _ in range(2)]
        try:
            for number in range(20):
                with path.open("wb") as file:
                    os.pwrite(file.fileno(), b"%d" % number, 10 * BLOCK)
                expected = bytes(10 * BLOCK) + b"%d" % number
                assert path.read_bytes() == expected
        finally:
            stop.set()
        for each in running:
            each.result(120)
    made.fill()
    assert path.read_bytes() == expected


def test_no_mark_is_left(made: Recovery, mechanism: str, source: Path) -> None:
    """A file that is whole raises no event, though others are still cold."""
    if mechanism != PRE_ACCESS:
        pytest.skip("only marks are looked at here")
    made.begin()
    assert made.marks() == FILES
    (made.dir / "f0").read_bytes()
    made.wait(lambda: made.marks() == FILES - 1, "one mark less")
    (made.dir / "f1").unlink()
    made.wait(lambda: made.marks() == FILES - 2, "one mark less")
    made.want(paused=False, finish=True)
    made.fill()
    assert [each for each in made.differences() if each != "f1: name: 'there' != None"][1:] == []
