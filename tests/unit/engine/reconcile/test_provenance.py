"""Where policies came from, asked of a real git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from engine.reconcile.provenance import provenance

needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "a.yaml").write_text("a: 1\n")
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def head(folder: Path) -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()


@needs_git
def test_a_clean_tree(repository: Path) -> None:
    found = provenance([repository])
    assert (found.commit, found.dirty) == (head(repository), False)
    assert provenance([repository / "a.yaml"]).commit == found.commit
    assert "@" in found.by


@needs_git
@pytest.mark.parametrize("name", ["a.yaml", "new.yaml"])
def test_a_change_or_a_new_file_is_dirty(repository: Path, name: str) -> None:
    (repository / name).write_text("a: 2\n")
    assert provenance([repository]).dirty is True


@needs_git
def test_settings_of_the_caller_do_not_lead_astray(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = head(repository)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert provenance([repository]).commit == expected


def test_outside_of_a_repository(tmp_path: Path) -> None:
    found = provenance([tmp_path])
    assert (found.commit, found.dirty) == (None, None)
    assert provenance([]).commit is None


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance([tmp_path]).commit is None
