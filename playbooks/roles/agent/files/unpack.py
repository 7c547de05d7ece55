"""Unpack an agent's bundle into ROOT/VERSION, compiled; whole or not at all. Python's own library only.

Usage: unpack.py BUNDLE ROOT VERSION KEEP
KEEP versions stay, the newest ones, to roll back to.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main(bundle: str, root: Path, version: str, keep: int) -> None:
    target = root / version
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    unfinished = root / f".{version}.{os.getpid()}"
    try:
        extract(bundle, unfinished)
        compileall.compile_dir(unfinished / "lib", quiet=2)
        make_durable(unfinished)  # the name below must not outlive the content in a power cut
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():  # somebody else was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    forget_old(root, version, keep)


def extract(bundle: str, target: Path) -> None:
    """Only plain files below `target`: a bundle holds nothing else."""
    with tarfile.open(bundle, "r:gz") as archive:
        for member in archive:
            data = archive.extractfile(member) if member.isfile() else None
            if data is None or member.name.startswith("/") or ".." in Path(member.name).parts:
                raise SystemExit(f"{bundle} holds {member.name!r}, which is no plain file below it")
            path = target / member.name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(data, file)
            path.chmod(0o644)


def make_durable(tree: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(sync, [tree, *tree.rglob("*")]))


def sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def forget_old(root: Path, version: str, keep: int) -> None:
    others = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name != version]
    current = root / "current"
    others = [path for path in others if not current.exists() or path != current.resolve()]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[max(0, keep - 1) :]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o022)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
