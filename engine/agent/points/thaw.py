"""Freeze file systems and thaw them again, as a process of its own: `... thaw SECONDS FD...`

Whatever happens to who asked, the file systems do not stay frozen: they are thawed when standard input says so, when
it ends (the asker has died), and when the time is over (the asker hangs). FIFREEZE and FITHAW are of linux/fs.h;
freezing waits for the writes under way, and writes back what is dirty, while new writers wait already: so the time
runs from its beginning.

Standard input: `f` freezes, `t` thaws. Standard output, a line each: `ready`; `frozen` or `refused ERRNO INDEX`; and
in the end `thawed WHY SECONDS`, where WHY is `asked`, `gone`, `late`, or `other` when somebody else had thawed one.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys

from engine.env.clock import SYSTEM

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878


def main(arguments: list[str]) -> int:
    """Serve one freeze."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limit_seconds, descriptors = float(arguments[0]), [int(each) for each in arguments[1:]]
    _say("ready")
    if os.read(0, 1) != b"f":
        return 0
    began = SYSTEM.monotonic()
    frozen: list[int] = []
    for index, fd in enumerate(descriptors):
        try:
            fcntl.ioctl(fd, FIFREEZE, 0)
        except OSError as error:
            thaw(frozen)
            _say(f"refused {error.errno} {index}")
            return 0
        frozen.append(fd)
    _say("frozen")
    why = _wait(began + limit_seconds)
    if not thaw(frozen):
        why = "other"
    _say(f"thawed {why} {SYSTEM.monotonic() - began:.6f}")
    return 0


def thaw(descriptors: list[int]) -> bool:
    """Thaw all of these; whether they were all frozen still."""
    whole = True
    for fd in descriptors:
        try:
            fcntl.ioctl(fd, FITHAW, 0)
        except OSError:
            whole = False  # EINVAL: it is not frozen
    return whole


def _wait(until: float) -> str:
    seconds = until - SYSTEM.monotonic()
    if seconds <= 0 or not select.select([0], [], [], seconds)[0]:
        return "late"
    return "asked" if os.read(0, 1) == b"t" else "gone"


def _say(text: str) -> None:
    try:
        os.write(1, text.encode() + b"\n")
    except OSError:
        pass  # who asked has gone


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
