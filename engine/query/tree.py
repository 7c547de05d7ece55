"""The tree of a stream as of a position: one path, a directory, everything below it.

Paths and names are bytes. `tree_table` is the form for restores: Arrow columns, no Python
object per file; `entries` and `stat` are for what people look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from engine.model.errors import NothingThere
from engine.model.events import DIRECTORY, ROOT_ID, Inode
from engine.model.ids import Position
from engine.query import asof, sql
from engine.query.asof import AsOf
from engine.query.session import Session
from engine.tree.paths import unescaped

TREE = pa.schema(
    [
        pa.field("path", pa.binary()),
        pa.field("lsn", pa.uint64()),
        pa.field("at", pa.int64()),
        pa.field("file_id", pa.uint64()),
        pa.field("type", pa.uint8()),
        pa.field("mode", pa.uint32()),
        pa.field("uid", pa.uint32()),
        pa.field("gid", pa.uint32()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("rdev", pa.uint64()),
        pa.field("target", pa.binary()),
        pa.field("xattrs", pa.binary()),
    ]
)
"""One row a path, absolute; `type` is the letter's code; the rest as engine.model.events.Inode."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path as of a position. A hard-linked inode is the entry of several paths."""

    path: bytes
    inode: Inode


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a path leads: `above` are the file_ids from the root to it, itself last."""

    path: bytes
    above: tuple[int, ...]
    inode: Inode | None

    @property
    def file_id(self) -> int:
        return self.above[-1]

    @property
    def is_directory(self) -> bool:
        return self.file_id == ROOT_ID or (self.inode is not None and self.inode.type == DIRECTORY)


def stat(session: Session, stream: str, position: Position, path: bytes) -> Entry:
    """One path. NothingThere when there is none, or for `/` when it was never described."""

    def read() -> Entry:
        found = _walk(session, asof.as_of(session, stream, position), path)
        if found.inode is None:
            raise _no_path(path, position)
        return Entry(found.path or b"/", found.inode)

    return session.reading(read)


def entries(
    session: Session, stream: str, position: Position, path: bytes = b"/", recursive: bool = False
) -> list[Entry]:
    """What a directory holds, or with `recursive` all that is below it, by path; a file is its own entry."""

    def read() -> list[Entry]:
        as_of = asof.as_of(session, stream, position)
        found = _walk(session, as_of, path)
        if not found.is_directory:
            assert found.inode is not None
            return [Entry(found.path, found.inode)]
        return list(as_entries(_below(session, as_of, found) if recursive else _children(session, as_of, found)))

    return session.reading(read)


def tree_table(session: Session, stream: str, position: Position, path: bytes = b"/") -> pa.Table:
    """A path and all that is below it, in the form of TREE, by path. `/` shows once it was described."""

    def read() -> pa.Table:
        as_of = asof.as_of(session, stream, position)
        found = _walk(session, as_of, path)
        top = _one_row(found.path or b"/", found.inode) if found.inode else TREE.empty_table()
        if not found.is_directory:
            return top
        return pa.concat_tables([top, _below(session, as_of, found)])

    return session.reading(read)


def as_entries(table: pa.Table) -> Iterator[Entry]:
    """The rows of a TREE table one by one."""
    return (Entry(path, inode) for path, inode in as_pairs(table))


def as_pairs(table: pa.Table) -> Iterator[tuple[bytes, Inode]]:
    """The same as (path, inode), for trees of many."""
    columns = [table.column(name).to_pylist() for name in TREE.names]
    for path, lsn, at, file_id, letter, *rest in zip(*columns, strict=True):
        yield path, Inode(lsn, at, file_id, chr(letter), *rest)


def _below(session: Session, as_of: AsOf, found: _Found) -> pa.Table:
    query = sql.fill("tree", events=as_of.events)
    values = {"root": found.file_id, "path": found.path, "above": list(found.above)}
    return _as_tree(session.table(query, values))


def _children(session: Session, as_of: AsOf, found: _Found) -> pa.Table:
    query = sql.fill("children", events=as_of.events)
    return _as_tree(session.table(query, {"parent": found.file_id, "path": found.path}))


def _as_tree(table: pa.Table) -> pa.Table:
    """An answer in the form of TREE. That it nearly always has already, and a cast imports pyarrow.compute, which takes
    longer than the query does."""
    return table if table.schema.equals(TREE) else table.cast(TREE)


def _walk(session: Session, as_of: AsOf, path: bytes) -> _Found:
    """Follow a path from the root, name by name. Its own form has no slash at the end: empty for `/`."""
    names = [name for name in path.split(b"/") if name]
    above = [ROOT_ID]
    for name in names:
        rows = session.rows(sql.fill("lookup_name", events=as_of.events), {"parent": above[-1], "name": name})
        if not rows or rows[0][0] is None:
            raise _no_path(path, as_of.position)
        above.append(rows[0][0])
    inodes = _inodes(session, as_of, above)
    way = [inodes.get(file_id) for file_id in above[1:]]
    if None in way or any(each and each.type != DIRECTORY for each in way[:-1]):
        raise _no_path(path, as_of.position)
    return _Found(b"".join(b"/" + name for name in names), tuple(above), inodes.get(above[-1]))


def _inodes(session: Session, as_of: AsOf, file_ids: Sequence[int]) -> dict[int, Inode]:
    """The latest attributes of inodes, by file_id; nothing of those that were never described."""
    query = sql.fill("lookup_inodes", events=as_of.events, file_ids=", ".join(map(str, file_ids)))
    return {
        subject: Inode(lsn, at, subject, chr(letter), *rest) for lsn, at, subject, letter, *rest in session.rows(query)
    }


def _one_row(path: bytes, inode: Inode) -> pa.Table:
    row = {name: getattr(inode, name) for name in TREE.names if name not in ("path", "type")}
    return pa.Table.from_pylist([{"path": path, "type": ord(inode.type), **row}], schema=TREE)


def as_named(session: Session, stream: str, position: Position, path: bytes) -> bytes:
    """`path` itself; or, when nothing is there and it is written with escapes as names are shown, what those mean."""
    meant = unescaped(path)
    if meant == path:
        return path
    for each in (path, meant):
        try:
            stat(session, stream, position, each)
        except NothingThere:
            continue
        return each
    return path


def _no_path(path: bytes, position: Position) -> NothingThere:
    text = path.decode("utf-8", "backslashreplace")
    return NothingThere(
        f"there is no {text} at point:{position}",
        hint="`bcsctl ls` shows what there is; `bcsctl log` when a path came and went",
    )
