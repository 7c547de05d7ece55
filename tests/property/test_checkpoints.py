"""A checkpoint at any point, built from any other, changes nothing that a read answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.model.points import Point
from engine.query.checkpoint import build_checkpoint
from engine.query.session import Session

from ..unit.engine.query.plain_journal import STREAM
from .agreement import agree
from .histories import History, histories
from .stored import stored

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@FEW
@given(histories(), st.data())
def test_checkpoints_change_no_answer(history: History, data: st.DataObject) -> None:
    kept = history.points()
    with tempfile.TemporaryDirectory() as root, Session(stored(data, history, Path(root))) as session:
        for position in data.draw(st.lists(st.sampled_from(kept), min_size=1, max_size=4, unique=True)):
            session.kept.clear()
            build_checkpoint(session, STREAM, Point(position, position.lsn, 0, "quiet"))
        session.kept.clear()
        for position in kept:
            agree(session, history, position)
