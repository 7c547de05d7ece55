"""Run a part of the product with one planted fault, as a process of its own:

    python -m tests.histories.faulty growth-is-append engine.agent agent --home ...

Nothing of this is in the product: each fault takes the place of one function, and says what a careless author might
have done there.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

NODES, AGENTS = "bcsctl", "engine.agent"


def growth_is_append() -> None:
    """A file that has grown is compared from its old end on."""
    from engine.agent.capture import content

    whole = content.changed_runs

    def tail(old: bytes | None, new: bytes) -> list[tuple[int, int]]:
        runs = whole(old, new)
        if not old or len(new) <= len(old):
            return runs
        end = len(old) // content.DIGEST_BYTES - 1
        return [(max(first, end), last) for first, last in runs if last > end]

    content.changed_runs = tail


def batch_dropped() -> None:
    """The changes in the agent's third batch go nowhere; the record has them all the same."""
    from engine.agent.capture.outbox import Outbox
    from engine.wire.batch import BatchBuilder

    close, closed = Outbox.close_batch, [0]

    def close_batch(self: Any, *arguments: Any, **named: Any) -> None:
        builder = self.builder
        closed[0] += bool(len(builder) and not self.direct)
        if closed[0] == 3 and len(builder) and not self.direct:
            self.builder = BatchBuilder(self._stream, self.epoch, builder.lsn_first, builder._prev, self._executor)
            marks = {row[0]: row for row in builder._rows["mark"]}
            for lsn in range(builder.lsn_first, builder.lsn_next):
                if lsn in marks:
                    _, at, kind, label, point_class, gap_from = marks[lsn]
                    self.builder.mark(at, kind.decode(), label.decode(), point_class.decode(), gap_from)
                else:
                    self.builder.record(0, "dropped", "{}")
        close(self, *arguments, **named)

    Outbox.close_batch = close_batch  # type: ignore[method-assign]


def batch_acknowledged_only() -> None:
    """The node says of each tenth batch that it has it, and keeps no more of it than its marks."""
    from dataclasses import replace

    from engine.journal.commit import Committer

    submit, submitted = Committer.submit, [0]

    def forget(self: Any, batch: Any, *arguments: Any, **named: Any) -> Any:
        submitted[0] += 1
        if submitted[0] % 10 == 0:
            batch = replace(
                batch, tables={name: rows for name, rows in batch.tables.items() if name == "mark"}, frames=()
            )
        return submit(self, batch, *arguments, **named)

    Committer.submit = forget  # type: ignore[method-assign]


def _overflow(ignored: bool) -> None:
    from engine.agent.watch.group import FanotifyGroup

    drain, drained = FanotifyGroup.drain, [0]

    def overflowed(self: Any) -> Any:
        found = drain(self)
        drained[0] += bool(found.dirty)
        if found.dirty and drained[0] % 4 == 0:
            found.dirty.clear()
            found.self_dirty.clear()
            found.overflowed = not ignored
        return found

    FanotifyGroup.drain = overflowed  # type: ignore[method-assign]


def overflow() -> None:
    """No fault: each fourth drain finds that the queue has overflowed, and nothing else."""
    _overflow(ignored=False)


def overflow_ignored() -> None:
    """The same, and nobody cares."""
    _overflow(ignored=True)


def spool_not_synced() -> None:
    """Batches in the spool are not made durable."""
    from engine.agent.kept import spool

    spool.os = _unsynced()


def record_not_synced() -> None:
    """The agent's record is not made durable. What it says of the spool is then lost with it."""
    from engine.agent.kept import record, write_ahead

    write_ahead.os = _unsynced()
    connect = record.sqlite3.connect

    def careless(*arguments: Any, **named: Any) -> Any:
        return connect(*arguments, factory=Careless, **named)

    class Careless(record.sqlite3.Connection):
        def execute(self, text: str, *values: Any) -> Any:
            return super().execute("PRAGMA synchronous = OFF" if "synchronous" in text else text, *values)

    record.sqlite3 = SimpleNamespace(**{**vars(record.sqlite3), "connect": careless})


def objects_not_synced() -> None:
    """What the node stores, packs and segments, is not made durable before it is acknowledged."""
    from engine.env import durable

    durable.os = _unsynced()


def links_not_watched() -> None:
    """What is written through a name outside of the source goes unseen."""
    from engine.agent.watch.group import FanotifyGroup

    FanotifyGroup.add_file = lambda self, directory_id, name, path: None  # type: ignore[method-assign]


def attributes_forgotten() -> None:
    """An inode whose size and time are as they were is taken for unchanged: modes, owners and xattrs are missed."""
    from engine.agent.capture.inodes import Inodes

    finish = Inodes._finish

    def careless(self: Any, known: Any, status: Any, target: bytes, xattrs: bytes, wall_ns: int) -> None:
        if (known.size, known.mtime_ns) != (status.st_size, status.st_mtime_ns):
            finish(self, known, status, target, xattrs, wall_ns)

    Inodes._finish = careless  # type: ignore[method-assign]


def _unsynced() -> Any:
    """The module `os`, but that nothing is synced."""

    def nothing(fd: int) -> None:
        return None

    return SimpleNamespace(**{**vars(os), "fsync": nothing, "fdatasync": nothing})


FAULTS: dict[str, tuple[str, Callable[[], None]]] = {
    "growth-is-append": (AGENTS, growth_is_append),
    "batch-dropped": (AGENTS, batch_dropped),
    "batch-acknowledged-only": (NODES, batch_acknowledged_only),
    "overflow": (AGENTS, overflow),
    "overflow-ignored": (AGENTS, overflow_ignored),
    "spool-not-synced": (AGENTS, spool_not_synced),
    "record-not-synced": (AGENTS, record_not_synced),
    "objects-not-synced": (NODES, objects_not_synced),
    "links-not-watched": (AGENTS, links_not_watched),
    "attributes-forgotten": (AGENTS, attributes_forgotten),
}


def main() -> None:
    fault, module, *arguments = sys.argv[1:]
    victim, plant = FAULTS[fault]
    if module == victim:
        plant()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
