"""A directory on its way elsewhere is looked at after all others, among which its new place may be found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine.agent.capture.look import Capture


def test_directories_whose_place_is_not_known_come_last() -> None:
    looked: list[int] = []
    capture: Any = Capture.__new__(Capture)
    capture.inodes = SimpleNamespace(cold=None)
    capture.places = SimpleNamespace(path={1: b"/", 2: b"/tree/deep/er", 3: None, 4: b"/tree"}.get)
    capture.touched = set()
    capture._look_in = lambda directory, names: looked.append(directory)
    capture.finish = lambda: looked.append(0)
    capture.look({(each, b"name") for each in (3, 2, 1, 4)}, ())
    assert looked == [1, 4, 2, 3, 0]
