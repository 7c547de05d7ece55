"""What a round of the GitOps loop came to, as data."""

from __future__ import annotations

import pytest

from engine.model.errors import Failed
from engine.reconcile.watching import APPLIED, FAILED, HEALED, SYNCED, Round, done, stopped, worth_a_line

A, B = "a" * 40, "b" * 40


@pytest.mark.parametrize(
    ("before", "commit", "changes", "state"),
    [
        (None, A, 0, SYNCED),
        (None, A, 3, APPLIED),
        (Round(1, SYNCED, A), A, 0, SYNCED),
        (Round(1, SYNCED, A), B, 0, SYNCED),
        (Round(1, SYNCED, A), B, 2, APPLIED),
        (Round(1, SYNCED, A), A, 1, HEALED),
        (Round(1, APPLIED, A), A, 1, HEALED),
    ],
)
def test_an_apply_that_went_well(before: Round | None, commit: str, changes: int, state: str) -> None:
    assert done(before, 9, commit, changes, 0) == Round(9, state, commit, changes)


def test_a_failure_keeps_since_when() -> None:
    first = stopped(Round(1, SYNCED, A), 5, "", Failed("git fetch: no route", hint="wait"))
    assert first == Round(5, FAILED, A, 0, "git fetch: no route", "wait", 5)
    second = done(first, 8, A, 2, 1)
    assert (second.state, second.failing_since, second.message) == (FAILED, 5, "1 thing could not be applied")
    assert done(second, 9, A, 0, 0).failing_since is None


def test_lines_are_for_what_changed() -> None:
    synced, failed = Round(1, SYNCED, A), Round(2, FAILED, A, message="no route", failing_since=2)
    assert worth_a_line(None, synced)
    assert not worth_a_line(synced, Round(2, SYNCED, A))
    assert worth_a_line(synced, Round(2, HEALED, A, 1))
    assert worth_a_line(synced, failed)
    assert not worth_a_line(failed, Round(3, FAILED, A, message="no route", failing_since=2))
    assert worth_a_line(failed, Round(3, FAILED, A, message="refused", failing_since=2))
    assert worth_a_line(failed, Round(3, SYNCED, A))
