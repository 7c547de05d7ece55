"""What differs between two positions of a stream: added, removed, changed, renamed.

Paths are compared, so what lies below a renamed directory is renamed with it. Contents differ when their bytes do
(engine.query.same_bytes): written again as they were, they are no change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from engine.journal.data import DataReader
from engine.model.errors import NothingThere
from engine.model.events import Inode
from engine.model.ids import Position
from engine.model.lineage import common_lsn
from engine.query import asof, sql
from engine.query.asof import whole_line
from engine.query.extents import pieces
from engine.query.same_bytes import Contents
from engine.query.session import Session
from engine.query.tree import TREE, tree_table

ADDED, REMOVED, CHANGED, RENAMED = "added", "removed", "changed", "renamed"


@dataclass(frozen=True, slots=True)
class Change:
    """One path's change. `left` and `right` are its attributes at the two positions, None where it was not.

    `content` and `attributes` say what of it changed; `old_path` where a renamed one was.
    """

    path: bytes
    kind: str
    left: Inode | None
    right: Inode | None
    content: bool = False
    attributes: bool = False
    old_path: bytes | None = None


def diff(session: Session, stream: str, left: Position, right: Position, path: bytes = b"/") -> list[Change]:
    """The changes from `left` to `right` at and below a path, by path. NothingThere when it is at neither."""

    def read() -> list[Change]:
        old, new = _tree(session, stream, left, path), _tree(session, stream, right, path)
        if old is None and new is None:
            tree_table(session, stream, right, path)  # raises, saying what there is
        written = _written_between(session, stream, left, right)
        with (
            session.lent("diff_left", old if old is not None else TREE.empty_table()) as one,
            session.lent("diff_right", new if new is not None else TREE.empty_table()) as other,
            session.lent("diff_written", written) as between,
        ):
            rows = session.rows(sql.fill("diff", left=one, right=other, written=between))
        changes = [_change(*row) for row in rows]
        return _with_renames(_with_content(session, stream, left, right, changes))

    return session.reading(read)


def _tree(session: Session, stream: str, position: Position, path: bytes) -> pa.Table | None:
    try:
        return tree_table(session, stream, position, path)
    except NothingThere:
        return None


def _written_between(session: Session, stream: str, left: Position, right: Position) -> pa.Table:
    common = common_lsn(asof.as_of(session, stream, left).line, asof.as_of(session, stream, right).line)
    later = " UNION ALL ".join(
        f"SELECT * FROM {whole_line(session, stream, position, common)}" for position in (left, right)
    )
    return session.table(f"SELECT DISTINCT subject AS file_id FROM ({later}) WHERE kind = 3")


def _change(
    path: bytes, old: Mapping[str, Any], new: Mapping[str, Any], attributes: bool | None, content: bool | None
) -> Change:
    left, right = _inode(old), _inode(new)
    kind = ADDED if left is None else REMOVED if right is None else CHANGED
    return Change(path, kind, left, right, bool(content), bool(attributes))


def _inode(row: Mapping[str, Any] | None) -> Inode | None:
    if row is None or row["path"] is None:
        return None
    fields = {name: value for name, value in row.items() if name not in ("path", "type")}
    return Inode(type=chr(row["type"]), **fields)


def _with_content(
    session: Session, stream: str, left: Position, right: Position, changes: list[Change]
) -> list[Change]:
    """Compare what may differ in content, and drop what then does not differ at all."""
    doubtful = [c for c in changes if c.content and c.left and c.right and c.left.size == c.right.size]
    old = pieces(session, stream, left, [c.left.file_id for c in doubtful if c.left]) if doubtful else {}
    new = pieces(session, stream, right, [c.right.file_id for c in doubtful if c.right]) if doubtful else {}
    contents = Contents(DataReader(session.journal), stream)
    equal = {
        c.path
        for c in doubtful
        if c.left and c.right and contents.same(c.right.size, old[c.left.file_id], new[c.right.file_id])
    }
    judged = [replace(c, content=False) if c.path in equal else c for c in changes]
    return [c for c in judged if c.kind != CHANGED or c.content or c.attributes]


def _with_renames(changes: list[Change]) -> list[Change]:
    """An inode that has gone from one path and come to another was renamed."""
    gone: dict[int, list[Change]] = {}
    for change in changes:
        if change.kind == REMOVED and change.left:
            gone.setdefault(change.left.file_id, []).append(change)
    found: list[Change] = []
    moved: set[bytes] = set()
    for change in changes:
        before = gone.get(change.right.file_id) if change.kind == ADDED and change.right else None
        if before:
            old = before.pop(0)
            moved.add(old.path)
            found.append(replace(change, kind=RENAMED, left=old.left, old_path=old.path))
        elif change.kind != REMOVED:
            found.append(change)
    found += [change for change in changes if change.kind == REMOVED and change.path not in moved]
    return sorted(found, key=lambda change: change.path)
