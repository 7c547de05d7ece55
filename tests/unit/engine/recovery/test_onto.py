"""Restores onto what stands there, killed at each of their steps: names are old or new as a whole, going on ends it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.model.events import Inode
from engine.plan.restore import Made, RestorePlan
from engine.recovery.restore import Onto, Restored, restore
from engine.tree import replacing
from engine.tree.compare import compare
from engine.tree.standing import survey

JOURNAL: Any = None
STEPS = ("mkdir", "link", "rename", "symlink", "mkfifo", "open", "chmod", "utime", "unlink", "ftruncate")
MTIME = 1_700_000_000_000_000_000


class Killed(BaseException):
    """Nothing of ours catches it."""


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "sync_all", lambda directories: None)


def plan(target: Path) -> RestorePlan:
    """Directories, files (all holes), further names, a link and a fifo; some in a directory that nobody described."""
    uid, gid = os.getuid(), os.getgid()

    def made(path: str, number: int, kind: str, *links: str, mode: int = 0o640, size: int = 0) -> Made:
        goal = b"a" if kind == "l" else b""
        inode = Inode(number, 1, number, kind, mode, uid, gid, size or len(goal), MTIME + number, 0, goal)
        return Made(os.fsencode(target / path), inode, tuple(os.fsencode(target / name) for name in links))

    return RestorePlan(
        os.fsencode(target),
        (made("d", 1, "d", mode=0o750), made("d/e", 2, "d", mode=0o500)),
        (
            made("a", 3, "f", "d/a again", size=5_000),
            made("d/e/b", 4, "f", size=7),
            made("large", 5, "f", "large again", size=17 << 20),
            made("way/c", 6, "f"),
        ),
        (made("d/link", 7, "l", mode=0o777), made("pipe", 8, "p", "pipe again")),
    )


def full(target: Path) -> dict[Path, bytes]:
    """What stands there before: in the way, alike, and of no concern. Answers the content of what is in the way."""
    (target / "d").mkdir(parents=True)
    old = {
        target / "a": b"old a",
        target / "d" / "a again": b"old again",
        target / "large": b"old",
        target / "way": b"",
    }
    del old[target / "way"]
    (target / "way").mkdir()
    for path, content in old.items():
        path.write_bytes(content)
    (target / "d" / "link").symlink_to("elsewhere")
    (target / "own").write_text("own")
    return old


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """The step with this number, and all after it, do not happen. Answers how many were asked for."""
    count = [0]
    with monkeypatch.context() as dying:
        for name in STEPS:
            real = getattr(os, name)

            def step(*arguments: Any, _real: Any = real, **more: Any) -> Any:
                count[0] += 1
                if count[0] > number:
                    raise Killed
                return _real(*arguments, **more)

            dying.setattr(os, name, step)
        yield count


def run(target: Path, *, overwrite: bool, aside: bool, again: bool, made: bool) -> Restored:
    wanted = plan(target)
    onto = Onto(survey(wanted), "0123abcd", overwrite, aside, again, made)
    return restore(JOURNAL, "s", wanted, {}, owners=False, progress=lambda files, count: None, onto=onto)


def same(left: Path, right: Path) -> list[str]:
    found = compare(os.fsencode(left), os.fsencode(right), owners=False, exclude=lambda path: b".before-" in path)
    return [str(each) for each in found if each.path not in (b".", b"own", b"way")]


@pytest.mark.parametrize("aside", [False, True])
def test_onto_what_stands_there_killed_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aside: bool
) -> None:
    (tmp_path / "fresh").mkdir()
    run(tmp_path / "fresh", overwrite=False, aside=False, again=False, made=False)
    number = 0
    while True:
        target = tmp_path / f"full{number}"
        old = full(target)
        ended = False
        with killed_at(monkeypatch, number):
            try:
                run(target, overwrite=True, aside=aside, again=False, made=False)
                ended = True
            except Killed:
                pass
        for path, content in old.items():
            whole = (tmp_path / "fresh" / path.relative_to(target)).stat().st_size
            assert path.stat().st_size in (len(content), whole), (number, path)
        done = run(target, overwrite=True, aside=aside, again=True, made=False)
        assert not done.failures
        if aside:
            names = {path.name.split(".before-")[0] for path in target.rglob("*.before-*")}
            assert {"a", "a again", "large", "link"} <= names
            assert (target / "a.before-0123abcd").read_bytes() == b"old a"
        assert same(tmp_path / "fresh", target) == [], number
        assert (target / "own").read_text() == "own" and not list(target.rglob(".bcs*"))
        if ended:
            break
        number += 3


def test_the_longest_of_names_is_kept_aside(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/" + b"n" * 255
    kept = replacing.aside_name(path, "0123abcd")
    Path(os.fsdecode(kept)).write_text("kept")
    assert len(os.path.basename(kept)) == 255 and kept.endswith(b".before-0123abcd")


def test_into_nothing_killed_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "fresh", overwrite=False, aside=False, again=False, made=False)
    number = 0
    while True:
        target, ended = tmp_path / f"back{number}", False
        with killed_at(monkeypatch, number):
            try:
                run(target, overwrite=False, aside=False, again=False, made=False)
                ended = True
            except Killed:
                pass
        before = {path.name: path.stat().st_ino for path in target.rglob("*") if path.name == "a"}
        whole = (target / "a").exists() and (target / "a").stat().st_mtime_ns == MTIME + 3
        done = run(target, overwrite=False, aside=False, again=True, made=True)
        assert not done.failures and (target.stat().st_mode & 0o777) == (tmp_path / "fresh").stat().st_mode & 0o777
        assert same(tmp_path / "fresh", target) == [], number
        if whole:
            assert (target / "a").stat().st_ino == before["a"]
        if ended:
            break
        number += 2
