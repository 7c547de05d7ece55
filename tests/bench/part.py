"""What the parts of the agent's benchmark share: a site on chosen processors, the moments at which changes became
durable, and running one part alone.

A change's moment is its file's mtime. The segment that holds it has its name from the moment at which it was durable:
its inode's ctime, behind the sync of its content. Segments stay for a minute after they were merged.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from tests.bench import disk, figures
from tests.bench.figures import Figure
from tests.embedded import Site

ADDRESS = "bench/localhost/files"
PLACE = Path(".bench").resolve() / "agent"
IN_MEMORY = Path("/dev/shm")

Measure = Callable[..., list[Figure]]
"""figures(place, small=False) of a part. `place` is an empty directory of its own; small sizes take a few seconds."""


class Pinned(Site):
    """A site whose processes stay on the processors given: all that they may where none are.

    With `node_home` the node keeps everything there, as it does on another machine; the agent's state is in `home`.
    """

    def __init__(
        self,
        home: Path,
        *,
        node_on: Collection[int] = (),
        agent_on: Collection[int] = (),
        node_home: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(node_home or home, environment)
        self.agent_home = home
        home.mkdir(parents=True, exist_ok=True)
        self._node_on, self._agent_on = node_on, agent_on

    def start_node(self) -> None:
        super().start_node()
        assert self.node is not None
        pin(self.node.pid, self._node_on)

    def start_agent(self) -> None:
        arguments = ["-m", "engine.agent", "agent", "--home", str(self.agent_home), "--host", "localhost"]
        with kept_on(self._agent_on or os.sched_getaffinity(0)):  # inherited: all of its threads begin there
            self.agent = self._spawn([*arguments, "--socket", str(self.socket)], "agent.log")

    def agent_cpu(self) -> float:
        """CPU seconds of the agent so far."""
        assert self.agent is not None
        return disk.cpu_seconds(self.agent.pid)

    def node_cpu(self) -> float:
        assert self.node is not None
        return disk.cpu_seconds(self.node.pid)

    def agent_memory(self, which: str) -> int:
        """VmRSS or VmHWM of the agent, bytes."""
        assert self.agent is not None
        return disk.memory_bytes(self.agent.pid, which)

    def settled(self, seconds: float = 120.0) -> None:
        """Wait until the agent has nothing left that is not acknowledged."""
        self.wait(lambda: not self.source(ADDRESS).get("pending"), seconds, "the agent to have nothing pending")

    def state(self) -> str:
        """The source's own word: baseline, catching-up, protected, ..."""
        return str(self.source(ADDRESS).get("state") or "")

    def durable(self, stream: str, since_ns: int = 0) -> dict[int, int]:
        """{mtime_ns of an inode event: when it was durable} of all that is in recent segments, wall nanoseconds."""
        while True:
            times = {str(path): path.stat().st_ctime_ns for path in (self.home / "journal" / "L0").rglob("*.parquet")}
            times = {path: at for path, at in times.items() if at >= since_ns}
            if not times:
                return {}
            query = "select mtime_ns, filename from read_parquet($1, filename = true) where kind = 2 and stream = $2"
            try:
                rows = duckdb.execute(query, [sorted(times), stream]).fetchall()
            except duckdb.IOException:
                continue  # one was swept meanwhile
            found: dict[int, int] = {}
            for mtime_ns, path in rows:
                found[mtime_ns] = min(times[path], found.get(mtime_ns, times[path]))
            return found


def pin(pid: int, processors: Collection[int]) -> None:
    """Keep all threads of a process on these processors; those that they begin follow."""
    for task in Path(f"/proc/{pid}/task").iterdir() if processors else ():
        os.sched_setaffinity(int(task.name), processors)


@contextmanager
def kept_on(processors: Collection[int]) -> Iterator[None]:
    """This process, and what it begins meanwhile, on these processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def halves() -> tuple[set[int], set[int]]:
    """The processors of this machine in two sets; the same one twice where there is only one."""
    have = sorted(os.sched_getaffinity(0))
    middle = max(1, len(have) // 2)
    return set(have[:middle]), set(have[middle:] or have)


def away(place: Path) -> Path:
    """A directory for a node that is to share no disk with the host: in memory where there is room."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > 4 << 30:
        return IN_MEMORY / f"bcs-bench-{os.getpid()}"
    return place / "node"


def main(name: str, measure: Measure) -> int:
    """Run one part from the command line."""
    options = argparse.ArgumentParser(prog=f"python -m tests.bench.agent_{name}")
    options.add_argument("--small", action="store_true", help="sizes of a few seconds, for trying it out")
    options.add_argument("--place", type=Path, default=PLACE)
    options.add_argument("--json", type=Path, help="write the figures there too")
    given = options.parse_args()
    found = run(name, measure, given.place, small=given.small)
    sys.stdout.write(figures.table(found))
    if given.json:
        figures.write(found, given.json)
    return 0


def run(name: str, measure: Measure, place: Path, **sizes: Any) -> list[Figure]:
    """One part in a directory of its own below `place`, which is removed afterwards."""
    own = place / name
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    try:
        return measure(own, **sizes)
    finally:
        shutil.rmtree(own, ignore_errors=True)
