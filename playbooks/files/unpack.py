"""Unpack a bundle into ROOT/VERSION, compiled, and point ROOT/current at it; whole or not at all. Only Python's own.

Usage: unpack.py ROOT VERSION KEEP PYTHON VARIABLE < BUNDLE
The bundle is read only when that version is not there for that Python yet. ROOT/VERSION/start runs the program: it
names the Python, so that going back to a version is moving the link and starting anew. VARIABLE is the environment
variable in which a process finds its version. KEEP versions stay, the newest ones, to go back to.
"""

from __future__ import annotations

import compileall
import ctypes
import fcntl
import os
import shlex
import shutil
import sys
import tarfile
from pathlib import Path
from typing import IO

START = """\
#!/bin/sh
export PYTHONPATH={lib} PYTHONSAFEPATH=1 LANG=C.UTF-8 {variable}={version}
exec {python} "$@"
"""


def main(root: Path, version: str, keep: int, python: str, variable: str) -> None:
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = os.open(root, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # of two at once the second finds the first one's work
    for left in root.glob(".*"):  # of one that was killed
        left.unlink() if left.is_symlink() else shutil.rmtree(left)
    release = f"{sys.version_info.major}.{sys.version_info.minor} {python}"
    if not is_there(root / version, release):
        unpack(sys.stdin.buffer, root, version, release, variable)
    point(root, version)
    os.fsync(lock)
    forget_old(root, version, keep)


def is_there(target: Path, release: str) -> bool:
    try:
        return (target / "python").read_text() == release
    except FileNotFoundError:
        return False


def unpack(bundle: IO[bytes], root: Path, version: str, release: str, variable: str) -> None:
    target, unfinished = root / version, root / f".{version}"
    try:
        extract(bundle, unfinished)
        compileall.compile_dir(unfinished / "lib", quiet=2, workers=0, stripdir=unfinished, prependdir=target)
        words = {"lib": target / "lib", "variable": variable, "version": version, "python": release.split(" ", 1)[1]}
        start = START.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
        (unfinished / "start").write_text(start)
        (unfinished / "start").chmod(0o755)
        (unfinished / "python").write_text(release)
        make_durable(unfinished)  # the name below must not outlive the content in a power cut
        if target.exists():  # for another Python
            target.rename(root / f".{version}.old")
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(root / f".{version}.old", ignore_errors=True)


def extract(bundle: IO[bytes], target: Path) -> None:
    """Only plain files below `target`: a bundle holds nothing else."""
    try:
        with tarfile.open(fileobj=bundle, mode="r|gz") as archive:
            for member in archive:
                data = archive.extractfile(member) if member.isfile() else None
                if data is None or member.name.startswith("/") or ".." in Path(member.name).parts:
                    raise SystemExit(f"the bundle holds {member.name!r}, which is no plain file below it")
                path = target / member.name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(data, file, 1 << 20)
                path.chmod(0o644)
    except (tarfile.TarError, EOFError) as error:
        raise SystemExit(f"the bundle did not arrive whole: {error}") from None


def make_durable(tree: Path) -> None:
    """All of its file system at once: a bundle has thousands of files."""
    fd = os.open(tree, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(tree))
    finally:
        os.close(fd)


def point(root: Path, version: str) -> None:
    current, new = root / "current", root / ".current"
    if not current.is_symlink() or os.readlink(current) != version:
        new.symlink_to(version)
        new.replace(current)


def forget_old(root: Path, version: str, keep: int) -> None:
    others = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name != version]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[max(0, keep - 1) :]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o022)
    try:
        main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    except OSError as error:
        raise SystemExit(f"{error.strerror}: {error.filename}") from None
