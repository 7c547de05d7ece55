"""Network namespaces that are files in the lab's directory: nothing in /run/netns, nothing in the root namespace."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.lab.errors import LabError
from tests.lab.shell import sh

CLONE_NEWNET = 0x40000000  # linux/sched.h
T = TypeVar("T")


def make(file: Path) -> None:
    """A new network namespace that lives until `remove`, with its loopback up."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    sh("unshare", f"--net={file}", "ip", "link", "set", "lo", "up")


def remove(file: Path) -> None:
    with suppress(LabError):  # it was not mounted any more
        sh("umount", file)
    file.unlink(missing_ok=True)


def forget_connections(file: Path) -> None:
    """Let what is left of connections, once their processes are gone, give up soon instead of in two minutes."""
    _set(file, tcp_orphan_retries=1, tcp_fin_timeout=1)


def ip(file: Path, *commands: str) -> None:
    """Run lines of ip(8) in the namespace."""
    sh("nsenter", f"--net={file}", "ip", "-batch", "-", stdin="".join(f"{command}\n" for command in commands))


def forward(file: Path) -> None:
    _set(file, ip_forward=1)


def enter(file: Path) -> None:
    """Move the calling thread into the namespace, see setns(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            raise LabError(f"setns {file}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)


def inside(file: Path, function: Callable[[], T]) -> T:
    """The function's value, run in a thread that is in the namespace. Sockets made there stay there."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            enter(file)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _set(file: Path, **settings: int) -> None:
    """Settings of the namespace's IPv4, see the kernel's networking/ip-sysctl."""

    def write() -> None:
        for name, value in settings.items():
            Path("/proc/sys/net/ipv4", name).write_text(f"{value}\n")

    inside(file, write)
