"""One node a home: its lock, its pid file, its socket. What a killed node left behind is cleaned; a living one is not
touched."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.env import processes
from engine.env.endpoint import PATH_BYTES_MAX
from engine.model.errors import BcsError, Failed

BACKLOG = 512


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Hold `home` for this process. Failed when another node has it; the kernel lets go when its holder ends."""
    lock = os.open(home / "run" / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another node{_its_pid(home)} serves {home}", hint="`bcsctl down` stops it") from None
        yield
    finally:
        os.close(lock)


@contextmanager
def pid_noted(home: Path) -> Iterator[None]:
    """Our pid in run/node.pid meanwhile. Whoever started us may have noted it already."""
    path = home / "run" / "node.pid"
    processes.write_pid_file(path)
    try:
        yield
    finally:
        with suppress(BcsError):
            if processes.read_pid(path) == os.getpid():
                path.unlink(missing_ok=True)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """The node's socket, for its owner only; gone again at the end. Call it with the home held: a socket that is there
    is then one that a killed node left. Its path may be longer than the kernel's limit."""
    with suppress(FileNotFoundError):
        if not path.is_socket():
            path.stat()
            raise Failed(f"{path} is in the way: it is no socket", hint="move it away, then start the node again")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with _reachable(path) as where:
            listener.bind(where)
    finally:
        os.umask(before)
    try:
        listener.listen(BACKLOG)
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _its_pid(home: Path) -> str:
    with suppress(BcsError):
        pid = processes.read_pid(home / "run" / "node.pid")
        if pid is not None:
            return f", process {pid},"
    return ""


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A socket's path in a form short enough for the kernel (unix(7))."""
    if len(os.fsencode(path)) <= PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
