"""Which files are left out of the trace, and for how long."""

from __future__ import annotations

from engine.agent.ranges.strangers import ANEW_TAKES, LEFT_OUT_MAX, TAKES, Strangers


def shown(strangers: Strangers, count: int, *inodes: int) -> bool:
    return sum(strangers.shown([(8, ino) for ino in inodes]) for _ in range(count)) > 0


def test_those_that_show_again_and_again_are_left_out() -> None:
    strangers = Strangers()
    assert not shown(strangers, TAKES - 1, 1, 2)
    assert strangers.conditions() == ""
    assert shown(strangers, 1, 1)
    assert strangers.conditions() == " && (s_dev != 8 || i_ino != 1)"
    assert shown(strangers, 1, 2)
    assert strangers.conditions() == " && (s_dev != 8 || i_ino != 1) && (s_dev != 8 || i_ino != 2)"


def test_one_that_is_asked_about_never_is_again() -> None:
    strangers = Strangers()
    shown(strangers, TAKES, 1)
    assert strangers.asked((8, 1))
    assert not strangers.asked((8, 1))
    assert strangers.conditions() == ""
    assert not shown(strangers, 2 * TAKES, 1)


def test_there_are_a_few_of_them_and_in_a_while_others() -> None:
    strangers = Strangers()
    shown(strangers, TAKES, *range(100, 100 + 2 * LEFT_OUT_MAX))
    assert len(strangers.left_out) == LEFT_OUT_MAX
    shown(strangers, ANEW_TAKES, 1)
    assert strangers.left_out == {(8, 1)}
