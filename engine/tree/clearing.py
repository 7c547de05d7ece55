"""Remove a directory of ours with all that is in it, whatever its modes; and how much room must stay beside it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.model.errors import Failed, Refused
from engine.model.times import format_size

FREE_SHARE, FREE_MOST = 0.05, 10 << 30
"""So much of a file system, and no more than so many bytes of it, must stay free for others."""


def remove(place: Path) -> None:
    """Remove a directory, if it is there. Failed, and nothing is touched, when something is mounted in it: that may be
    anything."""
    inside = [each for each in _mount_points() if Path(each).is_relative_to(place)]
    if inside:
        raise Failed(f"something is mounted at {inside[0]}", hint=f"unmount it; the next drill removes {place}")
    if not os.path.lexists(place):
        return
    shutil.rmtree(place, onerror=_opened)
    if os.path.lexists(place):
        shutil.rmtree(place)


def refuse_without_room(place: Path, needed_bytes: int) -> None:
    """Refused when so many bytes would leave less than what must stay free."""
    found = os.statvfs(place)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    kept = min(round(size * FREE_SHARE), FREE_MOST)
    if needed_bytes + kept > free:
        raise Refused(
            f"a drill needs {format_size(needed_bytes)} in {place.parent}, where {format_size(free)} are free, "
            f"{format_size(kept)} of which must stay so",
            hint="name a roomier directory there as `scratch` of the drill",
            details={"needed_bytes": needed_bytes, "free_bytes": free},
        )


def _opened(function: Callable[..., Any], path: str, _: object) -> None:
    """What was in the way of a removal is most often a directory that its owner may not write to."""
    with suppress(OSError):
        for each in (os.path.dirname(path), path):
            if stat.S_ISDIR(os.lstat(each).st_mode):
                os.chmod(each, 0o700)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path, onerror=_opened)
        else:
            os.unlink(path)


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    return [line.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape") for line in lines]
