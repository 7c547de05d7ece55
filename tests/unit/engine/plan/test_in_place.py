"""Restores in place, as decisions: which path is made, linked, rewritten, changed, cleared, removed."""

from __future__ import annotations

from engine.model.events import DIRECTORY, FILE, Inode
from engine.plan.in_place import InPlacePlan, Turn, plan_in_place


def _inode(file_id: int, type: str = FILE, size: int = 1) -> Inode:
    return Inode(file_id, 0, file_id, type, 0o644, 0, 0, size, 0)


def _plan(*turns: Turn, exact: bool = True, **names: tuple[bytes, ...]) -> InPlacePlan:
    several = {int(name.removeprefix("f")): paths for name, paths in names.items()}
    return plan_in_place(turns, several, {b"/": _inode(1, DIRECTORY), b"/d": _inode(2, DIRECTORY)}, exact)


def test_the_same_file_is_rewritten_and_another_takes_its_place() -> None:
    same, other = Turn(b"/a", _inode(5), _inode(5), True), Turn(b"/b", _inode(6), _inode(7), True)
    plan = _plan(same, other)
    assert plan.rewritten == (same,) and plan.made == (other,) and not plan.cleared


def test_attributes_alone() -> None:
    turn = Turn(b"/a", _inode(5), _inode(5))
    assert _plan(turn).changed == (turn,)


def test_what_did_not_exist_then_stays_without_exact() -> None:
    turn = Turn(b"/d/a", _inode(5), None)
    assert _plan(turn).removed == (turn,)
    assert _plan(turn, exact=False).nothing


def test_what_is_in_the_way_goes_first_whatever_was_asked_for() -> None:
    turns = (Turn(b"/d", _inode(2, DIRECTORY), _inode(9)), Turn(b"/d/a", _inode(5), None))
    plan = _plan(*turns, exact=False)
    assert plan.cleared == turns and plan.made == turns[:1] and not plan.removed


def test_further_names_lead_to_the_one_that_is_there_or_the_first_that_is_made() -> None:
    stays, comes = Turn(b"/b", None, _inode(5)), Turn(b"/c", None, _inode(5))
    plan = _plan(stays, comes, f5=(b"/a", b"/b", b"/c"))
    assert plan.linked == ((stays, b"/a"), (comes, b"/a")) and not plan.made
    plan = _plan(stays, comes, f5=(b"/b", b"/c"))
    assert plan.made == (stays,) and plan.linked == ((comes, b"/b"),)


def test_a_directory_is_the_same_directory_whatever_its_number() -> None:
    turn = Turn(b"/d", _inode(2, DIRECTORY), _inode(3, DIRECTORY))
    assert _plan(turn).changed == (turn,)


def test_directories_that_were_touched_get_their_times_back() -> None:
    plan = _plan(Turn(b"/d/a", None, _inode(5)))
    assert [path for path, _ in plan.settled] == [b"/d"]
