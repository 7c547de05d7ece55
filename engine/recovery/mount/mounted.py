"""A mount from beginning to end: made, served until it is taken away by whomever, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path

from engine.fuse import device
from engine.fuse.serving import Serving
from engine.model.errors import Refused
from engine.recovery.mount.filesystem import MomentFilesystem

NAME = "bcs"
BUSY_SECONDS = 2.0
"""How long someone who still uses the mount may hold up its end."""


def serve(
    directory: Path,
    filesystem: MomentFilesystem,
    stopping: threading.Event,
    on_ready: Callable[[], None],
    on_fault: Callable[[BaseException], None],
) -> None:
    """Mount on an empty directory and serve until `stopping` is set or somebody unmounts. Refused if it can't be.

    Who still reads from the mount then gets errors; its directory is free at once.
    """
    path = os.fsencode(directory)
    check(directory)
    serving = Serving(device.mount(path, NAME), filesystem, on_fault)
    serving.start()
    try:
        device.read_ahead_more(path)
        on_ready()
        while not stopping.wait(0.2):
            if serving.wait(0):
                return
    finally:
        if not serving.wait(0):
            _unmount(path, serving)
        serving.close()


def check(directory: Path) -> None:
    """Raises Refused unless it is an empty directory."""
    try:
        taken = any(directory.iterdir())
    except FileNotFoundError:
        raise Refused(f"{directory} is not there", hint=f"mkdir {shlex.quote(str(directory))}") from None
    except NotADirectoryError:
        raise Refused(f"{directory} is no directory", hint="name an empty directory") from None
    except OSError as error:
        raise Refused(
            f"{directory} can't be used: {os.strerror(error.errno or 0)}",
            hint=f"a mount whose program has gone is taken away by: umount -l {shlex.quote(str(directory))}",
        ) from None
    if taken and _is_ours(directory):
        raise Refused(
            f"the history is mounted on {directory} already",
            hint=f"look there; `umount {shlex.quote(str(directory))}` ends it",
        )
    if taken:
        raise Refused(f"{directory} is not empty", hint="mounting would hide what is in it: name an empty directory")


def _is_ours(directory: Path) -> bool:
    """Whether a mount of ours is there: its root alone is a mount point whose type has our name."""
    if not os.path.ismount(directory):
        return False
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    rows = (line.split() for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines())
    return any(row[2] == wanted and row[row.index("-") + 1] == f"fuse.{NAME}" for row in rows)


def _unmount(path: bytes, serving: Serving) -> None:
    waited = threading.Event()
    for _ in range(int(BUSY_SECONDS / 0.1)):
        if device.unmount(path):
            break
        waited.wait(0.1)
    else:
        device.unmount(path, lazily=True)
    serving.wait(BUSY_SECONDS)
