"""Any history folds the same through the oracle and through everything that stores and reads it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.query.session import Session

from .agreement import agree
from .histories import History, histories
from .stored import stored

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@FEW
@given(histories(), st.data())
def test_segments_fold_like_the_oracle(history: History, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root, Session(stored(data, history, Path(root))) as session:
        for position in history.points():
            agree(session, history, position)
