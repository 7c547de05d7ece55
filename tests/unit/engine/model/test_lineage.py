from __future__ import annotations

import pytest

from engine.model.errors import NothingThere
from engine.model.ids import Position
from engine.model.lineage import Epoch, Span, current_at, lineage, until


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


OPENED = {
    1: (10, None),
    2: (20, Position(1, 50)),
    3: (30, Position(1, 30)),
    4: (40, Position(3, 60)),
    5: (50, Position(3, 35)),
}
"""Of each epoch when it was opened, and its parent: 2 goes on where 1 ended, 3 and 5 leave something behind, 4 does
not."""
WRITTEN = {1: 50, 2: 70, 3: 60, 4: 80, 5: 90}


@pytest.mark.parametrize(
    ("at", "epoch"), [(5, 2), (15, 2), (25, 2), (29, 2), (30, 4), (35, 4), (45, 4), (49, 4), (50, 5), (99, 5)]
)
def test_what_was_left_behind_was_the_history_until_then(at: int, epoch: int) -> None:
    epochs = {number: Epoch(number, parent, "a test", "w", opened) for number, (opened, parent) in OPENED.items()}
    assert current_at(epochs, at, WRITTEN) == epoch


def test_an_epoch_that_nothing_was_left_behind_for_changes_nothing() -> None:
    """Its writer had made points before the node opened the epoch: they count from their own times on."""
    epochs = {1: Epoch(1, None, "", "w", 10), 2: Epoch(2, Position(1, 50), "", "w", 90)}
    assert current_at(epochs, 60, {1: 50, 2: 70}) == 2
    assert current_at(epochs, 60, {1: 51, 2: 70}) == 1
    assert current_at(epochs, 60, {2: 70}) == 2, "retention has dropped what was left behind"
