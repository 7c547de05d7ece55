"""One recovery on demand of a directory, by the real supervisor and filler, and looks at what becomes of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from engine.env import processes
from engine.env.boot import boot_id
from engine.fill.base import ENDED, FILLING, FINISHING, Place, Recipe
from engine.fill.kept import documents, map, table
from engine.fill.kept.documents import Progress, State, Wanted
from engine.fill.life import starting
from engine.fill.tree import skeleton
from engine.fill.tree.skeleton import Node
from engine.tree.attributes import read_attributes
from engine.tree.compare import compare
from engine.tree.settle import sync
from engine.tree.sparse import data_ranges
from engine.tree.walk import Entry, walk
from tests import plug
from tests.ondemand.supply import READS, Like, set_like

PATIENCE_SECONDS = 120.0


@dataclass
class Recovery:
    """The tree `source` as it comes to be at `dir`. `hold_back` keeps the background from filling."""

    source: Path
    dir: Path
    place: Place
    mechanism: str

    # Its life.

    def begin(self, *, hold_back: bool = True, away_seconds: float = 5.0, like: Like | None = None) -> None:
        """Make the skeleton and start the supervisor; returns when the tree can be used."""
        self.prepare(hold_back=hold_back, away_seconds=away_seconds, like=like)
        self.start()

    def prepare(self, *, hold_back: bool = True, away_seconds: float = 5.0, like: Like | None = None) -> None:
        hidden = self.dir / ".bcs-test"
        for path in (self.place.path, self.place.mechanism, self.place.supply):
            path.mkdir(parents=True)
        made_dir = not self.dir.exists()
        self.dir.mkdir(exist_ok=True)
        hidden.mkdir(0o700)
        directories, files, others = nodes(self.source)
        made = skeleton.build(os.fsencode(hidden), directories, files, others)
        assert made.shortfalls == []
        root = made.directories.pop(b"")
        assert skeleton.finish_directories(os.fsencode(hidden), made.directories) == []
        sync(os.fsencode(hidden))  # as who makes a tree does
        map.make(self.place.map, made.blocks)
        known = map.Map(self.place.map, writing=True)
        for number, first, end in made.holes:
            base = made.files[number].first_block
            known.set_warm(base + first, base + end)
        known.close()
        table.write(self.place.files, made.files)
        documents.write_root(
            self.place, documents.Root(root.mode, root.uid, root.gid, root.mtime_ns, root.xattrs.hex())
        )
        recipe = Recipe(
            id="test", address="demo/localhost/files", stream="s", position="0-1", point_at=0, point_class="quiet",
            base="", dir=str(self.dir), hidden=str(hidden), made_dir=made_dir, lasting=True, mechanism=self.mechanism,
            by="a test", begun_at=0, boot=boot_id(), files=len(made.files), bytes=made.bytes,
            rate_bytes=0, away_seconds=away_seconds, module="tests.ondemand.supply",
            supply={"source": str(self.source)},
        )  # fmt: skip
        documents.write_recipe(self.place, recipe)
        documents.write_wanted(self.place, Wanted(paused=hold_back))
        self.like(like or Like())

    def start(self) -> None:
        """Returns when the tree is guarded and can be reached."""
        before = documents.read_state(self.place).guard
        starting.start_supervisor(self.place)
        self.await_state(FILLING, FINISHING, ENDED)
        self.wait(lambda: documents.read_state(self.place).guard != before, "the tree to be guarded")

    def like(self, like: Like) -> None:
        set_like(self.place, like)

    def want(self, **changes: bool) -> None:
        documents.write_wanted(self.place, replace(documents.read_wanted(self.place), **changes))

    def fill(self) -> None:
        """Let the background fill the rest, and wait for the end."""
        self.want(paused=False, finish=True)
        self.await_state(ENDED)
        self.wait(lambda: starting.living(self.place) is None, "the supervisor to end")

    def kill_filler(self) -> int:
        """kill -9; its pid."""
        pid = self.filler()
        os.kill(pid, signal.SIGKILL)
        return pid

    def filler(self) -> int:
        """The pid of the filler that lives now."""
        found: list[int] = []

        def there() -> bool:
            pid = starting.living(self.place, starting.FILLER)
            found.extend([pid] if pid else [])
            return bool(found)

        self.wait(there, "a filler")
        return found[0]

    def processes(self) -> list[int]:
        """Supervisor, filler and the third holder, as far as they live."""
        if not (self.place.path / "recipe.json").exists():
            return []
        found = [starting.living(self.place, role) for role in (starting.HOLDER, starting.ROLE, starting.FILLER)]
        return [pid for pid in found if pid is not None]

    def end(self) -> None:
        """All of its processes at once, whatever state it is in."""
        plug.pull(starting.home_of(self.place), self.place.path.name)

    def kill(self, pids: list[int]) -> None:
        """All at once, so that none starts another one; returns when they are gone."""
        for what in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, what)
        self.wait(lambda: not any(processes.is_alive(pid) for pid in pids), "supervisor and filler to end")

    def another_boot(self) -> None:
        """As it is after one: who was guarding is not of this boot."""
        state = documents.read_state(self.place)
        documents.write_state(self.place, replace(state, guard="another-boot:1:1"))

    def cover(self) -> None:
        starting.module_of(documents.read_recipe(self.place)).cover(self.place, documents.read_recipe(self.place))

    # What is seen of it.

    def await_state(self, *states: str) -> State:
        def reached() -> bool:
            state = documents.read_state(self.place)
            assert state.state in states or state.state not in ("failed", "cancelled"), (state, self.log())
            return state.state in states

        self.wait(reached, f"the recovery to be {' or '.join(states)}")
        return documents.read_state(self.place)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s for {what}\n{self.log()}"
            time.sleep(0.01)

    def log(self) -> str:
        return self.place.log.read_text(errors="replace")[-4000:] if self.place.log.exists() else ""

    def progress(self) -> Progress:
        return documents.read_progress(self.place)

    def cold_blocks(self, name: str) -> int:
        """How many blocks of a file (by the name it was made with) are cold, as the map says now."""
        file = next(file for file in table.read(self.place.files) if os.fsdecode(file.path) == name)
        known = map.Map(self.place.map)
        try:
            return known.count_cold(file.first_block, file.first_block + file.blocks)
        finally:
            known.close()

    def reads(self) -> list[tuple[str, int]]:
        """Path and offset of all that was read of the supply."""
        rows = [
            line.split("\t") for line in (self.place.supply / READS).read_text(errors="surrogateescape").splitlines()
        ]
        return [(path, int(offset)) for path, offset in rows]

    def marks(self) -> int:
        """How many inodes the filler's group has marked (proc(5), fdinfo)."""
        found = 0
        for path in Path(f"/proc/{self.filler()}/fdinfo").iterdir():
            with suppress(FileNotFoundError):
                found += path.read_text().count("fanotify ino:")
        return found

    def differences(self, other: Path | None = None) -> list[str]:
        """What differs between the tree and what it should be (`other`, or its source)."""
        left = os.fsencode(other or self.source)
        return [str(each) for each in compare(left, os.fsencode(self.dir)) if each.path != b"."]


@contextmanager
def recovery(source: Path, dir: Path, home: Path, mechanism: str) -> Iterator[Recovery]:
    """A recovery that has not begun yet; whatever it started is ended afterwards."""
    found = Recovery(source, dir, documents.place_of(home, "test"), mechanism)
    try:
        yield found
    finally:
        found.end()


def nodes(source: Path) -> tuple[list[Node], list[Node], list[Node]]:
    """Directories (parents first), files and others of a tree, as a skeleton is made of them."""
    root = os.fsencode(source)
    made: dict[tuple[int, int], Node] = {}
    for number, entry in enumerate(walk(root), 1):
        assert isinstance(entry, Entry)
        path = entry.path[len(root) + 1 :]
        known = made.get(entry.inode)
        if known is not None and entry.type != "d":
            made[entry.inode] = replace(known, links=(*known.links, path))
            continue
        data = None
        if entry.type == "f":
            fd = os.open(entry.path, os.O_RDONLY)
            data = tuple(data_ranges(fd, entry.stat.st_size))
            os.close(fd)
        made[entry.inode] = Node(path, number, read_attributes(entry.path), (), data)
    found = list(made.values())
    kinds = [node.attributes.type for node in found]
    return (
        [node for node, kind in zip(found, kinds, strict=True) if kind == "d"],
        [node for node, kind in zip(found, kinds, strict=True) if kind == "f"],
        [node for node, kind in zip(found, kinds, strict=True) if kind not in "df"],
    )
