"""A name that is not there is no success, and nobody looks into a target that is not finished."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from engine.model.events import Inode
from engine.plan.restore import Made, RestorePlan
from engine.recovery.readback import read_back
from engine.recovery.restore import Restored, restore
from engine.recovery.restoring import Outcome

JOURNAL: Any = None


def made(target: Path, kind: str, *links: Path) -> Made:
    inode = Inode(1, 1, 1, kind, 0o640, os.getuid(), os.getgid(), 0, 0, target=b"nowhere" if kind == "l" else b"")
    return Made(os.fsencode(target), inode, tuple(map(os.fsencode, links)))


def carried_out(target: Path, *others: Made) -> Restored:
    plan = RestorePlan(os.fsencode(target), (), (), others)
    return restore(JOURNAL, "s", plan, {}, owners=False, progress=lambda files, count: None)


@pytest.mark.parametrize("call", ["link", "mkfifo"])
def test_a_name_that_cannot_be_made_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, call, refuse)
    done = carried_out(tmp_path / "back", made(tmp_path / "back" / "a", "p", tmp_path / "back" / "b"))
    assert os.fsencode(tmp_path / "back" / "b") in [path for path, _ in done.failures]
    assert not Outcome(done, 1.0, False).verified
    assert not Outcome(done, 1.0, False).damaged


def test_reading_back_looks_at_further_names(tmp_path: Path) -> None:
    one = made(tmp_path / "a", "l", tmp_path / "b")
    plan = RestorePlan(os.fsencode(tmp_path), (), (), (one,))
    done = carried_out(tmp_path, one)
    assert read_back(JOURNAL, "s", plan, {}, done, False) == []
    (tmp_path / "b").unlink()
    os.symlink("nowhere", tmp_path / "b")
    assert read_back(JOURNAL, "s", plan, {}, done, False) == [(os.fsencode(tmp_path / "b"), "further name")]


def test_a_new_target_is_shut_until_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, modes = tmp_path / "back", []
    mkfifo = os.mkfifo

    def look(path: bytes, mode: int) -> None:
        modes.append(stat.S_IMODE(target.stat().st_mode))
        mkfifo(path, mode)

    monkeypatch.setattr(os, "mkfifo", look)
    before = os.umask(0o022)
    try:
        carried_out(target, made(target / "a", "p"))
    finally:
        os.umask(before)
    assert modes == [0o700]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
