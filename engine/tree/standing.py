"""Look at what stands where a restore wants to write. Nothing is followed: a link in the way is a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.model.errors import Refused
from engine.model.events import DIRECTORY, SYMLINK
from engine.model.times import format_size
from engine.plan.restore import RestorePlan
from engine.plan.standing import Conflict, Seen, Standing, stand, ways
from engine.tree.attributes import TYPES
from engine.tree.paths import shown

NAMED = 5
_NOUNS = {"f": "a file", "d": "a directory", "l": "a symbolic link", "p": "a fifo", "s": "a socket", "c": "a device"}


def survey(plan: RestorePlan) -> Standing:
    """What stands in the way of a plan. What lies below something that is no directory does not stand there."""
    if not os.path.lexists(plan.target):
        return Standing()
    seen: dict[bytes, Seen] = {}
    there = {plan.target}
    for path in ways(plan):
        if os.path.dirname(path) in there and (found := _seen(path)):
            seen[path] = found
            if found.type == DIRECTORY:
                there.add(path)
    for path in _others(plan):
        if os.path.dirname(path) in there and (found := _seen(path)):
            seen[path] = found
    return stand(plan, seen)


def refuse(target: Path, standing: Standing, *, overwrite: bool, aside: bool) -> None:
    """Refused, with the numbers of what is in the way, unless the user said what is to become of it."""
    if standing.conflicts and not aside:
        first = ", ".join(_told(each) for each in standing.conflicts[:NAMED])
        raise Refused(
            f"in {target} {_count(len(standing.conflicts), 'name is', 'names are')} taken by something else: {first}",
            hint="--overwrite --aside keeps what is in the way as NAME.before-ID; nothing was touched",
            details=details(standing),
        )
    if overwrite:
        return
    way = len(standing.in_the_way) + len(standing.alike) + len(standing.settled)
    if not way:
        raise Refused(
            f"{target} is not empty, though nothing in it is in the way",
            hint="--overwrite restores into it, and leaves there what it does not restore; or name an empty directory",
            details=details(standing),
        )
    told = [f"{way:,} of the names to restore {'is' if way == 1 else 'are'} there already"]
    if standing.files:
        told.append(f"{_count(standing.files, 'file', 'files')} with {format_size(standing.bytes)} would be replaced")
    raise Refused(
        f"{target} is not empty: {', '.join(told)}",
        hint="--overwrite replaces what is in the way (--dry-run shows what), with --aside it is kept beside; "
        "or name an empty directory",
        details=details(standing),
    )


def details(standing: Standing) -> dict[str, Any]:
    """The numbers of what is in the way, and the first names, for JSON."""
    return {
        "replaced": len(standing.in_the_way),
        "files": standing.files,
        "bytes": standing.bytes,
        "alike": len(standing.alike),
        "directories": len(standing.directories),
        "names": [os.fsdecode(path) for path in sorted(standing.in_the_way)[:20]],
        "conflicts": [
            {"path": os.fsdecode(each.path), "there": each.there, "wanted": each.wanted}
            for each in standing.conflicts[:20]
        ],
        "conflicts_count": len(standing.conflicts),
    }


def _others(plan: RestorePlan) -> Iterator[bytes]:
    for made in (*plan.files, *plan.others):
        yield made.target
        yield from made.links


def _seen(path: bytes) -> Seen | None:
    try:
        status = os.lstat(path)
        kind = TYPES[status.st_mode & 0o170000]
        target = os.readlink(path) if kind == SYMLINK else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.filename is not None and isinstance(error, NotADirectoryError):
            return None
        raise
    number = (status.st_dev, status.st_ino)
    return Seen(kind, status.st_size, status.st_mtime_ns, number, status.st_nlink, status.st_rdev, target)


def _told(conflict: Conflict) -> str:
    there, wanted = (_NOUNS.get(kind, "a device") for kind in (conflict.there, conflict.wanted))
    return f"{shown(conflict.path)} is {there} where {wanted} belongs"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
