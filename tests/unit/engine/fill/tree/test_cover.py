"""Covers over directories of a real file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.tree import cover


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[bytes]:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    path = tmp_path / "a tree\twith\\all\nsorts"
    path.mkdir()
    (path / "file").write_text("here")
    yield os.fsencode(path)
    cover.uncover(os.fsencode(path), "one")


def test_a_cover_hides_and_lets_nobody_write(tree: bytes) -> None:
    cover.cover(tree, "one")
    cover.cover(tree, "one")
    assert cover.is_covered(tree, "one") and not cover.is_covered(tree, "two")
    assert os.listdir(tree) == []
    with pytest.raises(OSError):
        os.mkdir(tree + b"/x")
    cover.uncover(tree, "one")
    assert os.listdir(tree) == [b"file"]
    cover.uncover(tree, "one")


def test_it_goes_while_somebody_stands_in_it(tree: bytes) -> None:
    cover.cover(tree, "one")
    held = os.open(tree, os.O_RDONLY)
    cover.uncover(tree, "one")
    assert os.listdir(tree) == [b"file"]
    os.close(held)


@pytest.mark.parametrize("covered", [True, False])
def test_what_lies_beneath_can_be_had(tree: bytes, covered: bool) -> None:
    if covered:
        cover.cover(tree, "one")
    below = cover.beneath(tree, "one")
    assert os.listdir(f"/proc/self/fd/{below}") == ["file"]
    fd = os.open("file", os.O_RDWR, dir_fd=below)
    os.pwrite(fd, b"HERE", 0)
    os.close(fd)
    os.close(below)
    assert cover.is_covered(tree, "one") == covered
    cover.uncover(tree, "one")
    assert Path(os.fsdecode(tree), "file").read_text() == "HERE"


def test_whose_cover_lies_at_above_or_below_a_path(tree: bytes) -> None:
    above = os.path.dirname(tree)
    assert cover.covering([tree]) == ""
    cover.cover(tree, "one")
    for path in (tree, above, tree + b"/deep/down"):
        assert cover.covering([b"/elsewhere", path]) == "one", path
    assert cover.covering([tree + b"x", above + b"/other"]) == ""
