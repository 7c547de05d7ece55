"""How much slower applications become on a protected directory.

    python -m tests.bench.agent_slowdown [--small]

Each pair is the same work in the same directory, unprotected and protected, in turn, the first one alternating.
Unprotected: the source is not wanted any more, so no mark is on the file system, and agent and node are stopped
(SIGSTOP). Protected: all of it is captured, and shipped, while the work goes on; the next pair begins when nothing is
pending. The median of the pairs' ratios is told, minus one.

Three placements. *node apart*: application and agent share a set of processors, the node has the other set, and its
journal in memory, as one on another machine. *agent apart too*: the application has a set of processors alone.
*together*: everything on all processors and one disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import data, part
from tests.bench.figures import Figure, middle
from tests.bench.peers import Measured
from tests.bench.workloads import Workload, available

AT_MOST = 0.10
FILES = 20_000
PAIRS_MIN, WORK_SECONDS = 3, 45.0


@dataclass(frozen=True, slots=True)
class Placement:
    name: str
    application: Collection[int]
    agent: Collection[int]
    node: Collection[int]
    away: bool
    promised: bool


def placements() -> list[Placement]:
    mine, others = part.halves()
    everywhere = mine | others
    return [
        Placement("node apart", mine, mine, others, True, True),
        Placement("agent apart too", mine, others, others, True, True),
        Placement("together", everywhere, everywhere, everywhere, False, False),
    ]


def figures(place: Path, *, small: bool = False) -> list[Figure]:
    pairs = 1 if small else 5
    tree, aside = place / "tree", place / "aside"
    tree.mkdir()
    aside.mkdir()
    place.chmod(0o755)
    files = sorted(Path(os.__file__).parent.glob("*.py"))[:100] if small else _sources(place)
    found: list[Figure] = []
    with ExitStack() as stack:
        works = available(tree, aside, files, small=small)
        for work in works:
            stack.callback(work.close)
            work.prepare()
        for placement in placements()[: 1 if small else None]:
            found += measure(place, tree, works, placement, pairs)
    return found


def _sources(place: Path) -> list[Path]:
    """Files of the sources that other benchmarks use too."""
    tree = data.make("sources", place.parent.parent / "data")
    return sorted(path for path in tree.rglob("*") if path.is_file())[:FILES]


def measure(place: Path, tree: Path, works: list[Workload], placement: Placement, pairs: int) -> list[Figure]:
    """All workloads in one placement."""
    node_home = part.away(place) if placement.away else None
    homes = [place / "home", *([node_home] if node_home else [])]
    before = os.sched_getaffinity(0)
    site = part.Pinned(homes[0], agent_on=placement.agent, node_on=placement.node, node_home=node_home)
    found = []
    try:
        with site.start():
            protect(site, tree)
            for work in works:
                ratios = _ratios(site, tree, work, placement, pairs)
                slower = middle([wall for wall, _ in ratios]) - 1
                spread = f"{min(ratios)[0] - 1:+.0%} to {max(ratios)[0] - 1:+.0%}"
                note = f"{len(ratios)} pairs, {spread}; its own CPU time {middle([cpu for _, cpu in ratios]) - 1:+.0%}"
                what = f"{work.name}: slower, {placement.name}"
                bound = AT_MOST * 100 if placement.promised else None
                found.append(Figure("slowdown", what, slower * 100, "%", at_most=bound, note=note))
    finally:
        os.sched_setaffinity(0, before)
        for home in homes:
            shutil.rmtree(home, ignore_errors=True)
    return found


def _ratios(
    site: part.Pinned, tree: Path, work: Workload, placement: Placement, pairs: int
) -> list[tuple[float, float]]:
    """As many pairs as are wanted; fewer, but three, where they take long."""
    found: list[tuple[float, float]] = []
    began = time.monotonic()
    while len(found) < pairs and (len(found) < PAIRS_MIN or time.monotonic() - began < WORK_SECONDS):
        found.append(_pair(site, tree, work, placement, len(found) % 2 == 0))
    return found


def _pair(site: part.Pinned, tree: Path, work: Workload, placement: Placement, first: bool) -> tuple[float, float]:
    """Protected to unprotected: (wall, the application's CPU time)."""
    if first:
        plain, watched = _unprotected(site, work, placement, tree), _protected(site, work, placement)
    else:
        watched, plain = _protected(site, work, placement), _unprotected(site, work, placement, tree)
    return watched.wall_seconds / plain.wall_seconds, watched.cpu_seconds / plain.cpu_seconds


def _protected(site: part.Pinned, work: Workload, placement: Placement) -> Measured:
    with _on(placement, work):
        done = work.run()
    site.settled()
    work.clear()
    site.settled()
    os.sync()
    return done


def _unprotected(site: part.Pinned, work: Workload, placement: Placement, tree: Path) -> Measured:
    release(site)
    processes = [process.pid for process in (site.agent, site.node) if process]
    try:
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        with _on(placement, work):
            done = work.run()
        work.clear()
        os.sync()
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    protect(site, tree)
    return done


@contextmanager
def _on(placement: Placement, work: Workload) -> Iterator[None]:
    """This process, what it begins, and a workload's server, on the application's processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, placement.application)
    server = getattr(work, "server", None)
    if server is not None:
        for pid in (server.pid, *_children(server.pid)):
            os.sched_setaffinity(pid, placement.application)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def protect(site: part.Pinned, tree: Path) -> None:
    """Want the tree protected, and wait until it is: the agent watches it and has found nothing left to say."""
    site.protect(part.ADDRESS, tree)
    site.wait(lambda: _watching(site), 30, "the agent to watch")
    site.wait(lambda: site.state() == "protected", 120, "the tree to be protected")
    site.settled()


def release(site: part.Pinned) -> None:
    """Want nothing protected, and wait until the agent has let go of the file system."""
    number = site._applied()["number"]
    site.request("POST", "/v1/policies", {"base": number, "documents": {}, "sources": {}, "by": "a benchmark"})
    site.wait(lambda: not _watching(site), 30, "the agent to watch no more")


def _watching(site: part.Pinned) -> bool:
    assert site.agent is not None
    for link in Path(f"/proc/{site.agent.pid}/fd").iterdir():
        try:
            if "notify" in os.readlink(link):
                return True
        except OSError:
            continue
    return False


if __name__ == "__main__":
    sys.exit(part.main("slowdown", figures))
