"""What it means that reads agree with the oracle."""

from __future__ import annotations

from engine.model.fold import fold, tree
from engine.model.ids import Position
from engine.query.extents import LAYERS_MAX, layers, pieces
from engine.query.session import Session
from engine.query.tree import entries
from engine.recovery.on_demand.index import Index, packed

from ..unit.engine.query.plain_journal import STREAM
from .histories import History


def agree(session: Session, history: History, position: Position) -> None:
    """The fold of the oracle equals what the session reads."""
    state = fold(history.at(position))
    expected = tree(state)
    found = {entry.path: entry.inode for entry in entries(session, STREAM, position, recursive=True)}
    assert found == {path: node.inode for path, node in expected.items() if path != b"/"}
    files = {node.inode.file_id: list(node.pieces) for node in expected.values()}
    assert pieces(session, STREAM, position, files) == files
    for most in (1, 2, LAYERS_MAX):
        index = Index(packed(layers(session, STREAM, position, most=most)))
        assert {file_id: list(index.between(file_id, 0, 1 << 62)) for file_id in files} == files
    everything = pieces(session, STREAM, position)
    assert {file_id: everything.get(file_id, []) for file_id in files} == files
