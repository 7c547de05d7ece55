"""What a filler writes is no change; what it cuts is, and so is what anybody else writes, under whichever number."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.agent.ranges.fillers import Fillers
from engine.agent.ranges.tracefs import NoTracing
from engine.agent.ranges.tracepoints import Tracepoints
from engine.tree.sparse import make_hole
from tests.mounts import mounted
from tests.unit.engine.agent.ranges.test_tracepoints import PAGE, SIZE, Later, Traced


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def filesystem(request: pytest.FixtureRequest) -> Iterator[Path]:
    with mounted(request.param) as path:
        yield path


class Filler:
    """A process that does to a file what it is told, one thing after the other."""

    def __init__(self, path: Path, acts: dict[str, Callable[[int], object]]) -> None:
        told, self._tell = os.pipe()
        self._done, done = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            fd = os.open(path, os.O_RDWR)
            while name := os.read(told, 1):
                acts[name.decode()](fd)
                os.write(done, b".")
            os._exit(0)
        os.close(told)
        os.close(done)

    def do(self, name: str) -> None:
        os.write(self._tell, name.encode())
        assert os.read(self._done, 1) == b"."

    def close(self) -> None:
        os.close(self._tell)
        os.close(self._done)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _store(fd: int, at: int) -> None:
    with mmap.mmap(fd, 4 * PAGE, offset=at) as mapped:
        mapped[0:100] = b"s" * 100


ACTS: dict[str, Callable[[int], object]] = {
    "w": lambda fd: os.pwrite(fd, b"w" * 10 * PAGE, 16 * PAGE),
    "s": lambda fd: _store(fd, 64 * PAGE),
    "c": lambda fd: [os.truncate(fd, size) for size in (SIZE - 3 * PAGE, SIZE)],  # type: ignore[func-returns-value]
    "p": lambda fd: make_hole(fd, 32 * PAGE, 4 * PAGE),
}


@contextmanager
def filled(filesystem: Path, there: Callable[[Filler], list[int]]) -> Iterator[tuple[Traced, Filler, Later]]:
    """A traced file, and a filler that the trace knows as `there` says."""
    clock, fillers = Later(), list[Filler]()
    known = Fillers(lambda: there(fillers[0]) if fillers else [])
    if not known._comparable:
        pytest.skip("threads have other numbers here than the kernel's")
    try:
        writes = Tracepoints(clock, 1 << 20, known)
    except NoTracing as error:
        pytest.skip(str(error))
    path = filesystem / "file"
    with closing(writes), closing(Traced(writes, clock, path)) as traced, closing(Filler(path, ACTS)) as filler:
        fillers.append(filler)
        writes.take()  # from now on it is known
        yield traced, filler, clock
    path.unlink()


def test_what_it_writes_or_stores_is_no_change_and_what_it_cuts_is(filesystem: Path) -> None:
    with filled(filesystem, lambda filler: [filler.pid]) as (traced, filler, clock):
        for name in "ws":
            filler.do(name)
            assert traced.ranges() == [], name
            traced.looked()
            clock.ahead += 5
            assert traced.writes.dirty() == set(), name
        os.pwrite(traced.fd, b"o", 16 * PAGE)
        assert traced.look() == PAGE, "another process's, in the same place"
        for name in "pc":
            filler.do(name)
            assert traced.look() > 0, name


@pytest.mark.parametrize("asked", ["a process that is none", "not before its write", "not after its write"])
def test_only_a_number_that_was_a_fillers_before_and_after_counts(filesystem: Path, asked: str) -> None:
    known = [asked == "not after its write"]

    def there(filler: Filler) -> list[int]:
        return [filler.pid] if known[0] else [2**22 + 1]

    with filled(filesystem, there) as (traced, filler, _):
        filler.do("w")
        known[0] = asked == "not before its write"
        assert traced.look() >= 10 * PAGE
