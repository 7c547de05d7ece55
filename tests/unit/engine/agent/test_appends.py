"""A file that grows fast is followed without naps, and is quiet at its end all the same."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest
from conftest import Site, wait_for

from engine.agent import live
from engine.agent.capture.look import Capture
from engine.agent.watch.group import FanotifyGroup
from engine.agent.watch.inotify import InotifyWatcher
from engine.model.points import FUZZY, QUIET

PIECE = os.urandom(6 << 20)
PIECES = 5


def passes(site: Site) -> list[str]:
    return [mark.point_class for mark in site.node.marks_of("pass")]


def test_a_file_that_grows_fast_is_followed_without_naps(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows whenever it was looked at, and goes on to grow when the agent would nap."""
    site.start()
    site.settle()
    naps: list[int] = []
    pieces = [PIECE] * PIECES
    log = (site.tree / "log").open("wb", buffering=0)
    look = Capture.look

    def grows(self: Capture, dirty: Iterable[Any], directories: Iterable[int]) -> None:
        look(self, dirty, directories)
        if pieces:
            log.write(pieces.pop())

    def waited_in(kind: Any) -> Any:
        wait = kind.wait

        def goes_on(self: Any, timeout_seconds: float) -> bool:
            if timeout_seconds == live.MORE_SECONDS and pieces:
                log.write(b"more")
            return bool(wait(self, timeout_seconds))

        return goes_on

    def noted(waiting: int) -> float:
        naps.append(waiting)
        return live.NAP_SECONDS

    monkeypatch.setattr(live, "MORE_SECONDS", 2.0)
    monkeypatch.setattr(live, "nap_seconds", noted)
    monkeypatch.setattr(Capture, "look", grows)
    for kind in (FanotifyGroup, InotifyWatcher):
        monkeypatch.setattr(kind, "wait", waited_in(kind))
    had = len(passes(site))
    with log:
        log.write(PIECE)
        wait_for(lambda: not pieces)
        site.settle()
    wait_for(lambda: passes(site)[-1] == QUIET)
    followed = passes(site)[had:]
    assert len(followed) > PIECES
    assert set(followed[:PIECES]) == {FUZZY}, "no pass is quiet whose nap was left out"
    assert len(naps) <= 2, naps
