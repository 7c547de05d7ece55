"""What stands in the way of a restore: what stays, what is replaced, what is in conflict."""

from __future__ import annotations

from engine.model.events import Inode
from engine.plan.restore import Made, RestorePlan
from engine.plan.standing import Seen, stand, ways


def inode(file_id: int, kind: str = "f", size: int = 3, target: bytes = b"") -> Inode:
    return Inode(file_id, 1, file_id, kind, 0o644, 0, 0, size, 1000, 0, target)


PLAN = RestorePlan(
    b"/t",
    (Made(b"/t/d", inode(1, "d")),),
    (Made(b"/t/d/a", inode(2), (b"/t/d/b",)), Made(b"/t/deep/er/c", inode(3))),
    (Made(b"/t/l", inode(4, "l", target=b"x")),),
)
ALIKE = Seen("f", 3, 1000, (1, 7), 2)


def test_the_ways_are_parents_first() -> None:
    assert ways(PLAN) == [b"/t/d", b"/t/deep", b"/t/deep/er"]


def test_nothing_there() -> None:
    assert stand(PLAN, {}).nothing


def test_directories_stay_and_the_rest_is_replaced() -> None:
    old = Seen("f", 9, 1, (1, 5))
    found = stand(PLAN, {b"/t/d": Seen("d", 0, 1), b"/t/d/a": old, b"/t/l": Seen("l", 1, 1000, target=b"other")})
    assert found.directories == {b"/t/d"} and not found.alike and not found.conflicts
    assert set(found.in_the_way) == {b"/t/d/a", b"/t/l"} and (found.files, found.bytes) == (1, 9)


def test_what_looks_as_planned_with_its_further_names() -> None:
    found = stand(PLAN, {b"/t/d": Seen("d", 0, 1), b"/t/d/a": ALIKE, b"/t/d/b": ALIKE})
    assert (found.alike, found.settled, dict(found.in_the_way)) == ({b"/t/d/a"}, {b"/t/d/b"}, {})


def test_a_further_name_of_something_else_is_replaced() -> None:
    found = stand(PLAN, {b"/t/d/a": ALIKE, b"/t/d/b": Seen("f", 3, 1000, (1, 8))})
    assert found.alike == {b"/t/d/a"} and set(found.in_the_way) == {b"/t/d/b"}


def test_one_with_names_that_nobody_planned_is_replaced() -> None:
    assert set(stand(PLAN, {b"/t/d/a": Seen("f", 3, 1000, (1, 7), 3)}).in_the_way) == {b"/t/d/a"}


def test_other_types_are_conflicts() -> None:
    found = stand(PLAN, {b"/t/d": Seen("l", 1, 1), b"/t/deep": Seen("f", 1, 1), b"/t/l": Seen("d", 0, 1)})
    assert [(each.path, each.there, each.wanted) for each in found.conflicts] == [
        (b"/t/d", "l", "d"),
        (b"/t/deep", "f", "d"),
        (b"/t/l", "d", "l"),
    ]
