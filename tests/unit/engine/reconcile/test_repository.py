"""The policies' repository: fast-forward only, clean only, signed when asked, and never running what it names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine.model.errors import Failed, Refused
from engine.reconcile import repository


def git(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, name: str, text: str, *options: str) -> str:
    (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", f"{name} is {text}", *options)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Where policies are pushed to."""
    made = tmp_path / "origin"
    made.mkdir()
    git(made, "init", "-q")
    commit(made, "a.yaml", "one")
    return made


@pytest.fixture
def clone(tmp_path: Path, origin: Path) -> repository.Repository:
    """Where they are applied from."""
    git(tmp_path, "clone", "-q", str(origin), "clone")
    found = repository.find([tmp_path / "clone"])
    assert found is not None
    return found


def test_found_from_a_path_inside(clone: repository.Repository) -> None:
    (clone.root / "inner").mkdir()
    assert repository.find([clone.root / "inner"]) == clone
    assert repository.find([clone.root / "a.yaml"]) == clone
    assert (clone.branch, clone.upstream) == ("main", "origin/main")


def test_no_repository(tmp_path: Path) -> None:
    assert repository.find([tmp_path]) is None


def test_a_new_commit_is_taken_over(origin: Path, clone: repository.Repository) -> None:
    pushed = commit(origin, "a.yaml", "two")
    now = repository.update(clone, signed=False)
    assert (now.id, now.author, now.subject) == (pushed, "Ada <ada@example.org>", "a.yaml is two")
    assert (clone.root / "a.yaml").read_text() == "two"


def test_without_an_upstream_the_commit_that_is_there_counts(origin: Path) -> None:
    found = repository.find([origin])
    assert found is not None and not found.upstream
    assert repository.update(found, signed=False).id == git(origin, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["a.yaml", "new.yaml"])
def test_changes_that_no_commit_holds_are_refused(origin: Path, clone: repository.Repository, name: str) -> None:
    commit(origin, "b.yaml", "two")
    (clone.root / name).write_text("mine")
    with pytest.raises(Refused, match=f"has changes that no commit holds: .*{name}"):
        repository.update(clone, signed=False)
    assert not (clone.root / "b.yaml").exists()
    assert not repository.clean(clone.root)


def test_a_rewritten_history_is_refused(origin: Path, clone: repository.Repository) -> None:
    before = repository.head(clone.root)
    commit(origin, "a.yaml", "other", "--amend")
    with pytest.raises(Refused, match="its history was rewritten"):
        repository.update(clone, signed=False)
    assert repository.head(clone.root) == before


def test_an_origin_that_is_away_is_a_failure_with_gits_words(origin: Path, clone: repository.Repository) -> None:
    origin.rename(origin.with_name("away"))
    with pytest.raises(Failed, match="git fetch in "):
        repository.update(clone, signed=False)


def test_hooks_of_the_clone_are_not_run(origin: Path, clone: repository.Repository) -> None:
    hook = clone.root / ".git" / "hooks" / "post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {clone.root}/ran\n")
    hook.chmod(0o755)
    commit(origin, "a.yaml", "two")
    repository.update(clone, signed=False)
    assert not (clone.root / "ran").exists()


class Signer:
    """A key that signs commits, and whether a clone trusts it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.key)], check=True)

    @property
    def options(self) -> tuple[str, ...]:
        return ("-c", "gpg.format=ssh", "-c", f"user.signingkey={self.key}")

    def commit(self, folder: Path, text: str) -> str:
        (folder / "a.yaml").write_text(text)
        git(folder, *self.options, "commit", "-q", "-a", "-S", "-m", f"signed {text}")
        return git(folder, "rev-parse", "HEAD")

    def trusted_by(self, clone: repository.Repository) -> None:
        allowed = self.key.with_suffix(".allowed")
        allowed.write_text(f"ada@example.org {self.key.with_suffix('.pub').read_text()}")
        git(clone.root, "config", "gpg.ssh.allowedSignersFile", str(allowed))


def test_only_commits_by_trusted_keys_count_when_signatures_are_asked_for(
    tmp_path: Path, origin: Path, clone: repository.Repository
) -> None:
    ada, mallory = Signer(tmp_path, "ada"), Signer(tmp_path, "mallory")
    ada.trusted_by(clone)
    good = ada.commit(origin, "two")
    assert repository.update(clone, signed=True).id == good
    mallory.commit(origin, "three")
    with pytest.raises(Refused, match="is not signed by anyone trusted"):
        repository.update(clone, signed=True)
    commit(origin, "a.yaml", "four")
    with pytest.raises(Refused, match="is not signed by anyone trusted"):
        repository.update(clone, signed=True)
    assert repository.head(clone.root).id == good
    assert (clone.root / "a.yaml").read_text() == "two"
