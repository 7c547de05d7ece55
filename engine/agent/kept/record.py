"""The agent's record of one stream, in SQLite: what the tree was when it was last looked at, and what was sent.

One thread uses it, but for `sync`. Rows gather in lists and reach the database before the next look-up, so that a walk
over many new files costs one statement a batch. Nothing is durable before `commit`, or `write` and `sync`. The record
refuses to know full paths: names hang below their parents, and a renamed directory is one row.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.agent.kept.rows import NOWHERE, UNKNOWN_ID, UNKNOWN_SIZE, Entry, Known, Place, Sent
from engine.agent.kept.write_ahead import WriteAhead
from engine.model.events import ROOT_ID

__all__ = ["NOWHERE", "UNKNOWN_ID", "UNKNOWN_SIZE", "Entry", "Known", "Place", "Record", "Sent"]

_TOO_LARGE = 1 << 63
_SCHEMA = Path(__file__).with_name("record.sql")
_INODE = "i.dev, i.ino, i.mode, i.uid, i.gid, i.size, i.mtime_ns, i.ctime_ns, i.rdev, i.target, i.xattrs"
_ENTRIES = (
    "SELECT n.name, n.file_id, i.ctime_ns, i.mtime_ns, i.size, i.mode, i.ino, i.dev "
    "FROM names n LEFT JOIN inodes i USING (file_id)"
)


def number_of(status: os.stat_result) -> tuple[int, int]:
    """(dev, ino) as SQLite can hold them: 64 bits with a sign."""
    return signed(_seen_as.get(status.st_dev, status.st_dev), status.st_ino)


_seen_as: dict[int, int] = {}
"""Device numbers under which another file system is looked at for a while: a snapshot, and what it is of."""


def see_as(dev: int, as_dev: int) -> None:
    """From now on take inodes on one device for those on another with the same numbers."""
    _seen_as[dev] = as_dev


def see_as_itself(dev: int) -> None:
    """End what `see_as` began."""
    _seen_as.pop(dev, None)


def signed(dev: int, ino: int) -> tuple[int, int]:
    """The same two numbers with a sign."""
    return (dev if dev < _TOO_LARGE else dev - 2 * _TOO_LARGE), (ino if ino < _TOO_LARGE else ino - 2 * _TOO_LARGE)


class Record:
    """An open record. sqlite3.Error when the file can't be used."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        # No other process may take the place of a living agent: a second writer would split the history.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # the log is synced here, apart from being written
        self._db.execute("PRAGMA wal_autocheckpoint = 4000")
        self._db.execute("PRAGMA cache_size = -16000")
        self._add_columns("blocks", key="INTEGER", placed="BLOB")
        self._db.executescript(_SCHEMA.read_text("ascii"))
        self._inodes: list[tuple[Any, ...]] = []
        self._names: list[tuple[Any, ...]] = []
        self._blocks: list[tuple[Any, ...]] = []
        self._facts: dict[str, Any] = dict(self._db.execute("SELECT name, value FROM facts"))
        self._new_facts: dict[str, Any] = {}
        self._write_ahead = WriteAhead(path)
        self.sync(self._write_ahead.written())  # an agent that was killed may have written what it did not sync

    def _add_columns(self, table: str, **columns: str) -> None:
        """Add what a record that an older agent made lacks."""
        there = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if there and name not in there:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")

    # Facts: single values, such as the epoch, `through_at`, the LSN of the baseline's mark.

    def fact(self, name: str, otherwise: Any = None) -> Any:
        return self._facts.get(name, otherwise)

    def set_fact(self, name: str, value: Any) -> None:
        self._facts[name] = self._new_facts[name] = value

    # Looking up.

    def name(self, parent: int, name: bytes) -> Known | int | None:
        """What (parent, name) leads to; UNKNOWN_ID, or None for no such name."""
        self._flush()
        row = self._db.execute(
            f"SELECT n.file_id, {_INODE} FROM names n LEFT JOIN inodes i USING (file_id) WHERE n.parent=? AND n.name=?",
            (parent, name),
        ).fetchone()
        if row is None or row[0] is None:
            return None
        return UNKNOWN_ID if row[1] is None else Known._make(row)

    def names_in(self, parent: int, count_max: int) -> dict[bytes, Entry] | None:
        """What the record has in a directory; None when that is more than `count_max`: see `each_name` and `entry`."""
        self._flush()
        where = "WHERE n.parent = ? AND n.file_id IS NOT NULL LIMIT ?"
        rows = self._db.execute(f"{_ENTRIES} {where}", (parent, count_max + 1))
        found = {row[0]: row for row in rows}
        return found if len(found) <= count_max else None

    def entry(self, parent: int, name: bytes) -> Entry | None:
        """One name as `names_in` has it."""
        self._flush()
        where = "WHERE n.parent = ? AND n.name = ? AND n.file_id IS NOT NULL"
        row: Entry | None = self._db.execute(f"{_ENTRIES} {where}", (parent, name)).fetchone()
        return row

    def each_name(self, parent: int) -> Iterator[bytes]:
        """The names in a directory, one by one."""
        last = b""
        while True:
            self._flush()
            rows = self._db.execute(
                "SELECT name FROM names WHERE parent = ? AND name > ? AND file_id IS NOT NULL ORDER BY name LIMIT 1000",
                (parent, last),
            ).fetchall()
            yield from (row[0] for row in rows)
            if not rows:
                return
            last = rows[-1][0]

    def inode(self, file_id: int) -> Known | None:
        self._flush()
        row = self._db.execute(f"SELECT file_id, {_INODE} FROM inodes i WHERE file_id = ?", (file_id,)).fetchone()
        return None if row is None or row[1] is None else Known._make(row)

    def by_number(self, dev: int, ino: int) -> Known | None:
        """The inode that had this number when it was last seen."""
        self._flush()
        row = self._db.execute(
            f"SELECT file_id, {_INODE} FROM inodes i WHERE ino = ? AND dev = ? ORDER BY file_id DESC", (ino, dev)
        ).fetchone()
        return None if row is None else Known._make(row)

    def places_of(self, file_id: int) -> list[tuple[int, bytes]]:
        """(parent, name) of every name of an inode."""
        self._flush()
        return list(self._db.execute("SELECT parent, name FROM names WHERE file_id = ?", (file_id,)))

    def blocks(self, file_id: int, chunk: int) -> bytes | None:
        """The digests of a chunk of a file's blocks."""
        self._flush()
        row = self._db.execute(
            "SELECT digests FROM blocks WHERE file_id = ? AND chunk = ?", (file_id, chunk)
        ).fetchone()
        return row[0] if row else None

    def placed(self, file_id: int, chunk: int) -> bytes | None:
        """Where the bytes of a chunk are in the stream, as engine.agent.capture.copies packs it; None: not known."""
        self._flush()
        row = self._db.execute("SELECT placed FROM blocks WHERE file_id = ? AND chunk = ?", (file_id, chunk)).fetchone()
        return row[0] if row else None

    def chunks_like(self, key: int, count_max: int) -> list[tuple[int, int, bytes, bytes]]:
        """(file_id, chunk, digests, placed) of chunks with this key, as far as they have reached the database: what was
        put since is not acknowledged yet, and what it replaces was so at its time."""
        rows = self._db.execute(
            "SELECT file_id, chunk, digests, placed FROM blocks WHERE key = ? LIMIT ?", (key, count_max)
        )
        return rows.fetchall()

    def chunks(self, file_id: int) -> list[int]:
        """The chunks of a file that have digests, ascending."""
        self._flush()
        rows = self._db.execute("SELECT chunk FROM blocks WHERE file_id = ? ORDER BY chunk", (file_id,))
        return [row[0] for row in rows]

    def counts(self) -> tuple[int, int]:
        """(regular files, their bytes) that the record knows."""
        self._flush()
        row = self._db.execute("SELECT count(*), sum(size) FROM inodes WHERE mode >> 12 = 8").fetchone()
        return row[0], row[1] or 0

    def inodes(self) -> int:
        """How many inodes of any kind the record knows."""
        self._flush()
        return int(self._db.execute("SELECT count(*) FROM inodes").fetchone()[0])

    # Changing.

    def put_inode(
        self, file_id: int, lsn: int, status: os.stat_result, target: bytes, xattrs: bytes, ctime_ns: int
    ) -> None:
        s = status
        dev, ino = s.st_dev, s.st_ino
        if dev >= _TOO_LARGE or ino >= _TOO_LARGE or dev in _seen_as:
            dev, ino = number_of(status)
        times = (s.st_size, s.st_mtime_ns, ctime_ns)
        self._inodes.append((file_id, lsn, dev, ino, s.st_mode, s.st_uid, s.st_gid, *times, s.st_rdev, target, xattrs))

    def put_known(self, known: Known, lsn: int) -> None:
        """An inode that was not looked at: what is known of it, and by which event."""
        self._inodes.append((known.file_id, lsn, *known[1:]))

    def put_name(self, parent: int, name: bytes, file_id: int | None, lsn: int) -> None:
        """`file_id` None: the name was unlinked."""
        self._names.append((parent, name, file_id, lsn))

    def put_blocks(
        self, file_id: int, chunk: int, lsn: int, digests: bytes, key: int | None = None, placed: bytes | None = None
    ) -> None:
        """`key` and `placed` as engine.agent.capture.copies has them; None: nobody can refer to this chunk."""
        self._blocks.append((file_id, chunk, lsn, digests, key, placed))

    def cut_blocks(self, file_id: int, chunk_first: int) -> None:
        """Forget the digests from a chunk on: the file has become shorter."""
        self._flush()
        self._change("DELETE FROM blocks WHERE file_id = ? AND chunk >= ?", [(file_id, chunk_first)])

    def forget(self, file_id: int, breathe: Callable[[], None] = lambda: None) -> list[int]:
        """Drop an inode that no name leads to, and all below it if it is a directory; the directories dropped. A tree
        may hold a million: `breathe` is called now and then, and may raise to end it."""
        self._flush()
        dropped: list[int] = []
        waiting = [file_id]
        gone = 0
        while waiting:
            each = waiting.pop()
            gone += 1
            if gone & 63 == 0:
                breathe()
            below = self._db.execute("SELECT file_id FROM names WHERE parent = ?", (each,)).fetchall()
            row = self._db.execute("SELECT mode >> 12 FROM inodes WHERE file_id = ?", (each,)).fetchone()
            self._change("DELETE FROM names WHERE parent = ?", [(each,)])
            self._change("DELETE FROM inodes WHERE file_id = ?", [(each,)])
            self._change("DELETE FROM blocks WHERE file_id = ?", [(each,)])
            if row and row[0] == 4:
                dropped.append(each)
            for (child,) in below:
                if child is not None and child > ROOT_ID and not self.places_of(child):
                    waiting.append(child)
        return dropped

    def orphans(self) -> list[int]:
        """Inodes that no name leads to."""
        self._flush()
        named = self._db.execute("SELECT count(DISTINCT file_id) FROM names WHERE file_id > 0").fetchone()[0]
        if self.inodes() == named + (1 if self.inode(ROOT_ID) is not None else 0):
            return []  # each has a name: no name leads to an inode that isn't there
        rows = self._db.execute(
            "SELECT file_id FROM inodes i WHERE file_id > 0 AND NOT EXISTS "
            "(SELECT 1 FROM names n WHERE n.file_id = i.file_id)"
        )
        return [row[0] for row in rows]

    def forget_stray_blocks(self) -> None:
        """Drop digests of files that were never described: their capture was cut off."""
        self._flush()
        self._change("DELETE FROM blocks WHERE file_id NOT IN (SELECT file_id FROM inodes)", [()])

    def renumber_device(self, old: int, new: int) -> None:
        """A file system came back under another device number; nothing when that number is in use already."""
        self._flush()
        if self._db.execute("SELECT 1 FROM inodes WHERE dev = ? LIMIT 1", (new,)).fetchone() is None:
            self._change("UPDATE inodes SET dev = ? WHERE dev = ?", [(new, old)])

    def move_device(self, old: int, new: int) -> None:
        """All that was seen under one device number is seen under another from now on, beside what is there already."""
        self._flush()
        self._change("UPDATE inodes SET dev = ? WHERE dev = ?", [(new, old)])

    # Batches.

    def sent(self) -> list[Sent]:
        """Batches that are not known to be acknowledged, in order."""
        rows = self._db.execute(
            "SELECT lsn_first, lsn_last, hash, at, through_at, segment, offset, length FROM batches ORDER BY lsn_last"
        )
        return [Sent(first, last, hash, at, through, Place(*place)) for first, last, hash, at, through, *place in rows]

    def first_spooled(self) -> Place:
        """Where the first batch is that the spool must keep."""
        row = self._db.execute(
            "SELECT segment, offset, length FROM batches WHERE segment >= 0 ORDER BY lsn_last LIMIT 1"
        ).fetchone()
        return Place(*row) if row else NOWHERE

    def lose_spooled(self) -> None:
        """The spool is damaged, or the node refuses what is in it: batches in it are nowhere now.

        What they refer to is sent again, too.
        """
        self._change("UPDATE batches SET segment = -1", [()])
        self._change("UPDATE blocks SET key = NULL, placed = NULL WHERE placed IS NOT NULL", [()])

    def add_sent(self, sent: Sent) -> None:
        row = (sent.lsn_first, sent.lsn_last, sent.hash, sent.at, sent.through_at, *sent.place)
        self._change(
            "INSERT INTO batches (lsn_first, lsn_last, hash, at, through_at, segment, offset, length) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [row],
        )

    def acknowledge(self, lsn: int, hash: bytes) -> int:
        """The node has everything up to `lsn`; until when it is complete by the batches that this is news of, or 0."""
        self._flush()
        at, through_at = self._db.execute(
            "SELECT max(at), max(through_at) FROM batches WHERE lsn_last <= ?", (lsn,)
        ).fetchone()
        if at is not None:
            self.set_fact("acked_at", at)
            self.set_fact("acked_through_at", max(through_at, self.fact("acked_through_at", 0)))
        if self.fact("mark_lsn", 0) <= lsn:
            self.set_fact("acked_mark_at", self.fact("mark_at", 0))
        self.set_fact("acked_lsn", lsn)
        self.set_fact("acked_hash", hash)
        self._change("DELETE FROM batches WHERE lsn_last <= ?", [(lsn,)])
        self._change("DELETE FROM names WHERE file_id IS NULL AND lsn <= ?", [(lsn,)])
        return through_at or 0

    def roll_back(self, lsn: int) -> None:
        """The node has nothing after `lsn`: whatever rows said since is to be looked at, and sent, again."""
        self._flush()
        for statement in (
            "DELETE FROM batches WHERE lsn_last > ?",
            "DELETE FROM inodes WHERE file_id > ?",
            "UPDATE inodes SET ctime_ns = -1, mtime_ns = -1, size = -1, mode = mode & 61440, xattrs = NULL "
            "WHERE lsn > ?",
            "UPDATE inodes SET ctime_ns = -1, size = -1 WHERE file_id IN (SELECT file_id FROM blocks WHERE lsn > ?)",
            "DELETE FROM blocks WHERE lsn > ?",
            f"UPDATE names SET file_id = {UNKNOWN_ID} WHERE lsn > ?",
        ):
            self._change(statement, [(lsn,)])
        self.forget_stray_blocks()
        self._change("DELETE FROM names WHERE parent NOT IN (SELECT file_id FROM inodes)", [()])
        if self.fact("baseline_lsn", 0) > lsn:
            self.set_fact("baseline_lsn", 0)
        self.set_fact("through_at", min(self.fact("through_at", 0), self.fact("acked_through_at", 0)))
        # A mark that the node never got ends no gap: the next one begins where the last that it has was.
        acked = self.fact("acked_mark_at", self.fact("acked_at", 0))
        self.set_fact("mark_at", min(self.fact("mark_at", 0), acked))

    def clear(self) -> None:
        """Forget the tree and all that was sent: the history begins anew."""
        self._flush()
        for table in ("inodes", "names", "blocks", "batches", "facts"):
            self._change(f"DELETE FROM {table}", [()])
        self._facts, self._new_facts = {}, {}

    # Making it durable.

    def _flush(self) -> None:
        if self._inodes:
            self._change("INSERT OR REPLACE INTO inodes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._inodes)
            self._inodes = []
        if self._names:
            self._change("INSERT OR REPLACE INTO names VALUES (?, ?, ?, ?)", self._names)
            self._names = []
        if self._blocks:
            self._change("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?)", self._blocks)
            self._blocks = []

    def commit(self, *, lazily: bool = False) -> None:
        """Make all changes so far durable; `lazily`: kept through a crash of the agent, not through one of the host.

        What follows changes that are not durable yet can't be kept lazily, and isn't.
        """
        lazily = lazily and not (self._db.in_transaction or self._write_ahead.behind)
        number = self.write(lazily=lazily)
        if not lazily:
            self.sync(number)

    def write(self, *, lazily: bool = False) -> int:
        """Commit all changes so far: kept through a crash of the agent, and of the host once `sync` has returned for
        the number that this answers."""
        self._flush()
        if self._new_facts:
            self._change("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(self._new_facts.items()))
            self._new_facts = {}
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        return self._write_ahead.written(lazily=lazily)

    def sync(self, number: int) -> None:
        """Make durable what was written up to a number, in any thread. OSError when that can't be, and ever after."""
        self._write_ahead.sync(number)

    def _change(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN")
        self._db.executemany(statement, rows)

    def close(self) -> None:
        """Close without committing what is open."""
        self._write_ahead.close()
        self._db.close()
