"""File systems to test on: a loop device over a sparse file, or tmpfs, mounted while a `with` block lasts.

Unmounted and detached whatever happens, lazily as a last resort; what a killed test process left goes with the next
mount of any other: that it is ours, and nobody's any more, says a file in it and the lock on that file, as in
engine.env.own_directory. A machine has few loop devices: who finds none free waits for one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.env.own_directory import OURS, _held

SIZE_BYTES = 384 << 20
"""Enough for every kind: xfs wants at least 300 MiB, btrfs 109. Takes no space until it is written to."""

WAIT_SECONDS = 120.0
"""For a loop device; no test that holds one may run longer than 60 s."""

_PREFIX = "bcs-test-mount-"
"""No name that the product sweeps away by itself: it knows nothing of loop devices."""

_BUSY_SECONDS = 10.0
_MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-E", "lazy_itable_init=1,lazy_journal_init=1"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
LOOPS = tuple(_MKFS)
KINDS = (*LOOPS, "tmpfs")


@contextmanager
def mounted(kind: str, size_bytes: int = SIZE_BYTES, options: str = "") -> Iterator[Path]:
    """The mount point of a new, empty file system. `options` as mount(8) takes them, separated by commas.

    Skips the test where this is not root, or the machine lacks what it takes.
    """
    with volume(kind, size_bytes) as made:
        made.mount(options)
        yield made.path


@dataclass
class Volume:
    """A file system that a test mounts and unmounts itself; `path` is where. `device` is empty for tmpfs."""

    kind: str
    size_bytes: int
    home: Path
    device: str
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.home / "mnt"

    def mount(self, options: str = "") -> None:
        """Mount it at `path`. tmpfs is empty each time."""
        if self.kind == "tmpfs":
            options = ",".join(filter(None, (f"size={self.size_bytes}", options)))
        given = ["-o", options] if options else []
        _run("mount", "-t", self.kind, *given, self.device or "tmpfs", self.path)

    def unmount(self) -> None:
        """All that is mounted at and below `path`; lazily if it stays busy for seconds. Nothing mounted is fine."""
        _unmount(self.path)


@contextmanager
def volume(kind: str, size_bytes: int = SIZE_BYTES) -> Iterator[Volume]:
    """A new file system that is not mounted yet."""
    _skip_if_impossible(kind)
    _sweep()
    home = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    held = _held(home, os.O_CREAT)
    assert held is not None
    made = Volume(kind, size_bytes, home, "")
    try:
        # What is unmounted here goes from the mount namespaces too that were copied meanwhile, such as those of the
        # lab's hosts: it would live on there, and a power cut would never be over.
        _run("mount", "--bind", "--make-shared", home, home)
        made.path.mkdir()
        if kind != "tmpfs":
            image = home / "image"
            with image.open("wb") as file:
                file.truncate(size_bytes)
            _run(*_MKFS[kind], image)
            made.device = _attached(image)
        yield made
    finally:
        _clear(home)
        os.close(held)


def _unmount(path: Path) -> None:
    end = time.monotonic() + _BUSY_SECONDS
    while _is_mounted(path):
        lazily = ["-l"] if time.monotonic() > end else []
        with suppress(subprocess.CalledProcessError):
            _run("umount", "-R", *lazily, path)
            continue
        time.sleep(0.05)


def _is_mounted(path: Path) -> bool:
    """By the kernel's table: a file system that was shut down can't even be asked."""
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _skip_if_impossible(kind: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    if kind in _MKFS:
        if not shutil.which(_MKFS[kind][0]):
            pytest.skip(f"{_MKFS[kind][0]} is not installed; see scripts/test-packages")
        if not Path("/dev/loop-control").exists():
            pytest.skip("this machine has no loop devices")


def _attached(image: Path) -> str:
    """The loop device that holds the image, once one is free."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return _run("losetup", "--find", "--show", image).strip()
        except subprocess.CalledProcessError as error:
            if time.monotonic() > end:
                raise AssertionError(f"no loop device was free for {WAIT_SECONDS:g} s: {error.stderr}") from error
        time.sleep(0.1)


def _sweep() -> None:
    """Clear what processes left that are no more."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        held = _held(home, 0)
        if held is not None:
            with suppress(OSError, subprocess.CalledProcessError):
                _clear(home)
            os.close(held)


def _clear(home: Path) -> None:
    Volume("", 0, home, "").unmount()
    image = home / "image"
    if image.exists():
        for line in _run("losetup", "--associated", image).splitlines():
            _run("losetup", "--detach", line.partition(":")[0])  # of one still in use: as soon as it no longer is
        image.unlink()
    if (home / "mnt").exists():
        (home / "mnt").rmdir()
    _unmount(home)
    (home / OURS).unlink()
    home.rmdir()


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
