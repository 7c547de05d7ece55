"""A hundred commits of a git history are replayed into a protected directory; every moment comes back.

After each commit the writer waits until the agent has seen all of it, and notes the time. Afterwards the directory
is restored as of each of those moments, and compared with `git archive` byte for byte.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from bcsctl.app import cli
from engine.model.times import format_time
from tests.embedded import ROOT, Site

ADDRESS = "history/localhost/files"
COMMITS = 100


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real history of at least COMMITS commits: this project's own, or one made from its files."""
    path = tmp_path_factory.mktemp("git") / "repository"
    subprocess.run(["git", "init", "-q", "-b", "main", path], check=True)
    files = sorted(file for file in (ROOT / "engine").rglob("*.py") if file.stat().st_size)
    for number in range(COMMITS):
        _edit(path, files, number)
        subprocess.run(["git", "-C", path, "add", "-A"], check=True)
        identity = ["-c", "user.name=history", "-c", "user.email=history@localhost"]
        subprocess.run(["git", "-C", path, *identity, "commit", "-q", "--allow-empty", "-m", f"{number}"], check=True)
    return path


def _edit(path: Path, files: list[Path], number: int) -> None:
    """Change the tree as work does: new files, edits inside, renames, deletions, a link, a mode."""
    here = path / f"part{number % 7}"
    here.mkdir(exist_ok=True)
    source = files[number % len(files)]
    (here / f"{number}_{source.name}").write_bytes(source.read_bytes())
    mine = sorted(file for file in path.rglob("*.py") if ".git" not in file.parts and not file.is_symlink())
    edited = mine[number * 7 % len(mine)]
    lines = edited.read_text().splitlines(keepends=True)
    lines[len(lines) // 2 : len(lines) // 2] = [f"# edited {number}\n"]
    edited.write_text("".join(lines))
    if number % 5 == 3:
        mine[number % len(mine)].rename(here / f"renamed{number}.py")
    if number % 6 == 4:
        mine[(number + 1) % len(mine)].unlink(missing_ok=True)
    if number % 9 == 5:
        (here / f"link{number}").symlink_to("elsewhere")
    if number % 8 == 6:
        next(file for file in path.rglob("*.py") if ".git" not in file.parts).chmod(0o755)


def _commits(repository: Path) -> list[str]:
    answer = subprocess.run(["git", "-C", repository, "rev-list", "--reverse", "HEAD"], capture_output=True, check=True)
    return answer.stdout.decode().split()


def _archive(repository: Path, commit: str) -> dict[str, tuple[str, bytes, int]]:
    """{path: (type, content or link target, executable bit)} of a commit."""
    tar = subprocess.run(["git", "-C", repository, "archive", commit], capture_output=True, check=True).stdout
    tree: dict[str, tuple[str, bytes, int]] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                tree[member.name] = ("file", content.read(), member.mode & 0o100)
            elif member.issym():
                tree[member.name] = ("link", member.linkname.encode(), 0)
    return tree


def _on_disk(root: Path) -> dict[str, tuple[str, bytes, int]]:
    tree: dict[str, tuple[str, bytes, int]] = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory) / name
            key = str(path.relative_to(root))
            if path.is_symlink():
                tree[key] = ("link", os.readlink(path).encode(), 0)
            else:
                tree[key] = ("file", path.read_bytes(), path.stat().st_mode & 0o100)
    return tree


def test_every_commit_comes_back(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protected = tmp_path / "protected"
    protected.mkdir()
    commits = _commits(repository)
    moments: list[tuple[int, str]] = []
    checkout = ["git", f"--git-dir={repository}/.git", f"--work-tree={protected}", "checkout", "-q", "-f"]
    with Site(tmp_path / "home").start() as site:
        site.protect(ADDRESS, protected)
        site.wait_protected(ADDRESS)
        for commit in commits:
            subprocess.run([*checkout, commit, "--", "."], check=True)
            _remove_extra(protected, _archive(repository, commit))
            done = time.time_ns() // 1000
            site.wait(lambda done=done: _through(site) >= done, 120, "all of a commit to be seen")
            moments.append((time.time_ns() // 1000, commit))
        monkeypatch.setenv("BCS_HOME", str(site.home))
        wrong = []
        for number, (at, commit) in enumerate(moments):
            target = tmp_path / "restored" / str(number)
            cli.main(["restore", ADDRESS, "--at", format_time(at), "--to", str(target)], standalone_mode=False)
            if _on_disk(target) != _archive(repository, commit):
                wrong.append((number, commit))
        assert wrong == []


def _through(site: Site) -> int:
    from datetime import datetime

    text = site.source(ADDRESS)["through_at"]
    return int(datetime.fromisoformat(text).timestamp() * 1e6) if text else 0


def _remove_extra(protected: Path, tree: dict[str, tuple[str, bytes, int]]) -> None:
    """`git checkout` of paths leaves what the commit no longer has."""
    for name in set(_on_disk(protected)) - set(tree):
        (protected / name).unlink()
