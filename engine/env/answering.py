"""A socket of this machine at which a process tells everybody who connects, and may, one document; and how to ask."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ASK_SECONDS = 5.0
_WAIT_SECONDS = 0.5
_WAITING_MAX = 16
_BYTES_MAX = 64 << 20


@contextmanager
def answering(path: Path, answer: Callable[[], bytes]) -> Iterator[None]:
    """Meanwhile a thread answers at `path`, which only the owner may ask. OSError where it can't be made."""
    path.unlink(missing_ok=True)
    stopping = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listening:
        with _short(path) as name:
            listening.bind(name)
        path.chmod(0o600)
        listening.listen(_WAITING_MAX)
        listening.settimeout(_WAIT_SECONDS)
        thread = threading.Thread(target=_serve, args=(listening, answer, stopping), name="answering", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
            path.unlink(missing_ok=True)


def ask(path: Path, timeout_seconds: float = ASK_SECONDS) -> bytes:
    """What the process at `path` has to say. OSError where there is none, or none that answers in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.settimeout(timeout_seconds)
        with _short(path) as name:
            asking.connect(name)
        told = bytearray()
        while piece := asking.recv(1 << 16):
            told += piece
            if len(told) > _BYTES_MAX:
                raise OSError(f"{path} tells more than {_BYTES_MAX} bytes")
        return bytes(told)


def _serve(listening: socket.socket, answer: Callable[[], bytes], stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            asking, _ = listening.accept()
        except TimeoutError:
            continue
        except OSError:
            return
        with asking, suppress(OSError):
            asking.settimeout(ASK_SECONDS)
            asking.sendall(answer())


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for it that is never too long for an address (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
