"""File systems to change things on, made of loop devices where the machine lets us, one at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.agent.watch.base import Watcher
from engine.agent.watch.group import DIALECTS
from engine.agent.watch.inotify import InotifyWatcher
from engine.agent.watch.marks import DirectoryWatcher, FilesystemWatcher
from tests.mounts import LOOPS, volume

MAKERS: dict[str, Callable[[list[bytes]], Watcher]] = {
    "fanotify": FilesystemWatcher,
    "fanotify-directories": DirectoryWatcher,
    "inotify": InotifyWatcher,
    # As on kernels before 5.17:
    "fanotify, old": lambda roots: FilesystemWatcher(roots, dialects=DIALECTS[1:]),
    "fanotify-directories, old": lambda roots: DirectoryWatcher(roots, dialects=DIALECTS[1:]),
}


@contextmanager
def loop_filesystem(kind: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """(mount point, a function that unmounts and mounts again) of a new file system in a sparse file."""
    with volume(kind) as disk:

        def again() -> None:
            disk.unmount()
            disk.mount()

        disk.mount()
        yield disk.path, again


@pytest.fixture(scope="module", params=["here", "tmpfs", "ext4", "xfs", "btrfs"])
def filesystem(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory on a file system of each kind."""
    if request.param in LOOPS:
        with loop_filesystem(request.param) as (mount_point, _):
            yield mount_point
        return
    if request.param == "tmpfs" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("no tmpfs at /dev/shm")
    work = Path(tempfile.mkdtemp(prefix="bcs-watch-", dir="/dev/shm" if request.param == "tmpfs" else None))
    yield work
    shutil.rmtree(work)


@pytest.fixture
def tree(filesystem: Path) -> Iterator[Path]:
    """An empty directory on each of them."""
    path = Path(tempfile.mkdtemp(dir=filesystem))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def open_each() -> Iterator[Callable[..., Watcher]]:
    """Open watchers by the name of their mechanism; they are closed at the end. Skips those that need root."""
    opened: list[Watcher] = []

    def open_one(mechanism: str, root: Path) -> Watcher:
        if mechanism != "inotify" and os.geteuid() != 0:
            pytest.skip("fanotify marks need root")
        opened.append(MAKERS[mechanism]([os.fsencode(root)]))
        return opened[-1]

    yield open_one
    for watcher in opened:
        watcher.close()


@pytest.fixture
def root() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bcs-watch-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def loops() -> Callable[[str], object]:
    return loop_filesystem
