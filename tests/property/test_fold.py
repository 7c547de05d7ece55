"""Any history folds the same through the oracle and through everything that stores and reads it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.model.extents import overlay
from engine.model.fold import fold, tree
from engine.model.ids import Position
from engine.query.extents import pieces
from engine.query.session import Session
from engine.query.tree import entries

from ..unit.engine.query.plain_journal import STREAM
from .histories import History, histories
from .stored import stored

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def agree(session: Session, history: History, position: Position) -> None:
    """The fold of the oracle equals what the session reads."""
    state = fold(history.at(position))
    expected = tree(state)
    found = {entry.path: entry.inode for entry in entries(session, STREAM, position, recursive=True)}
    assert found == {path: node.inode for path, node in expected.items() if path != b"/"}
    seen = pieces(session, STREAM, position, state.inodes)
    assert seen == {file_id: overlay(state.extents.get(file_id, ()), i.size) for file_id, i in state.inodes.items()}
    everything = pieces(session, STREAM, position)
    for node in expected.values():
        assert tuple(everything.get(node.inode.file_id, ())) == node.pieces


@FEW
@given(histories(), st.data())
def test_segments_fold_like_the_oracle(history: History, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root, Session(stored(data, history, Path(root))) as session:
        for position in history.points():
            agree(session, history, position)
