"""Temporary directories: gone with their process, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.env.own_directory import OwnDirectory, sweep

LEFT = """
import os
from engine.env.own_directory import OwnDirectory
kept = OwnDirectory("query")
(kept.path / "file").write_text("left")
print(kept.path, flush=True)
{end}
"""


def run(end: str, tmp_path: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-c", LEFT.format(end=end)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return Path(done.stdout.strip())


def test_what_ends_by_itself_leaves_nothing(tmp_path: Path) -> None:
    assert not run("", tmp_path).exists()


def test_what_is_left_goes_when_another_begins_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = run("os._exit(0)", tmp_path)
    assert left.exists()
    (other := tmp_path / "bcs-query-1234-of-another").mkdir()
    (other / "file").write_text("somebody's")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with OwnDirectory("query") as mine:
        assert str(os.getpid()) in mine.name
        assert not left.exists() and mine.exists() and (other / "file").exists()
        assert sweep(tmp_path) == 0 and mine.exists()
    assert not mine.exists()


def test_what_holds_a_mount_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = run("os._exit(0)", tmp_path)
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        found = real(path)
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:])) if path.name == "file" else found

    monkeypatch.setattr(Path, "lstat", lstat)
    assert sweep(tmp_path) == 0 and (left / "file").exists()
