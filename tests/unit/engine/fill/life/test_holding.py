"""Who makes a tree and who captures never are at one source together."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.fill.life.holding import capturing, holding
from engine.model.errors import Refused


def test_capture_is_kept_out_while_a_tree_is_made(tmp_path: Path) -> None:
    with holding(tmp_path, ["s", "t"]):
        with capturing(tmp_path, "s") as free:
            assert not free
        with capturing(tmp_path, "another") as free:
            assert free
    with capturing(tmp_path, "s") as free:
        assert free


def test_who_makes_a_tree_waits_for_capture_and_not_for_ever(tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def capture() -> None:
        with capturing(tmp_path, "s") as free:
            assert free
            began.set()
            assert go_on.wait(120)

    agent = threading.Thread(target=capture)
    agent.start()
    assert began.wait(120)
    with pytest.raises(Refused, match="still looks"), holding(tmp_path, ["s"], seconds=0.1):
        raise AssertionError("nobody may make a tree there now")
    go_on.set()
    with holding(tmp_path, ["s"]):
        pass
    agent.join()
