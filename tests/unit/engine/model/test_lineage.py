from __future__ import annotations

import pytest

from engine.model.errors import NothingThere
from engine.model.ids import Position
from engine.model.lineage import Epoch, Span, lineage, until


def epoch(number: int, parent: Position | None) -> Epoch:
    return Epoch(number, parent, "a test", "w", 0)


def test_a_branch_is_cut_where_the_next_began() -> None:
    epochs = {
        1: epoch(1, None),
        2: epoch(2, Position(1, 50)),
        3: epoch(3, Position(2, 70)),
        4: epoch(4, Position(1, 20)),
    }
    assert lineage(epochs, 3) == (Span(1, 1, 50), Span(2, 51, 70), Span(3, 71, None))
    assert lineage(epochs, 4) == (Span(1, 1, 20), Span(4, 21, None))


def test_a_grandparent_cut_earlier_than_its_child_began() -> None:
    epochs = {1: epoch(1, None), 2: epoch(2, Position(1, 50)), 3: epoch(3, Position(2, 50))}
    assert lineage(epochs, 3) == (Span(1, 1, 50), Span(3, 51, None))


def test_until_cuts_at_a_position() -> None:
    line = (Span(1, 1, 50), Span(2, 51, None))
    assert until(line, Position(2, 60)) == (Span(1, 1, 50), Span(2, 51, 60))
    assert until(line, Position(1, 30)) == (Span(1, 1, 30),)


def test_an_unknown_epoch() -> None:
    with pytest.raises(NothingThere, match="epoch 7"):
        lineage({}, 7)
