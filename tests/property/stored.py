"""A history as a journal: its events in segments, cut anywhere, some of them written twice."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from ..unit.engine.query.plain_journal import PlainJournal
from .histories import History


def stored(draw: st.DataObject, history: History, root: Path) -> PlainJournal:
    journal = PlainJournal(root)
    journal.add_stream(epochs=list(history.epochs.values()))
    for number in history.epochs:
        events = [event for epoch, event in history.events if epoch == number]
        while events:
            count = draw.draw(st.integers(1, len(events)))
            for _ in range(draw.draw(st.sampled_from([1, 1, 1, 2]))):
                journal.commit(events[:count], number)
            events = events[count:]
    return journal
