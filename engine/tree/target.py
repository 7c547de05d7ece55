"""The directory that a restore writes to: it must be empty, or the user must say otherwise."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from engine.model.errors import Refused, UsageError

_MADE = re.compile(r"\.bcs-([0-9a-f]{12}(?:[0-9a-f]{4})?)")


def check_target(target: Path) -> bool:
    """Whether the directory has to be made. Refused when something is in it; it is never emptied."""
    first = first_entry(target)
    if first:
        refuse_cut_off(target)
        raise Refused(
            f"{target} is not empty: it holds {first}",
            hint="name an empty directory, or one that is not there yet",
        )
    return first is None


def refuse_cut_off(target: Path) -> None:
    """Refused where a tree on demand is being made, or was when its maker died: it is `.bcs-ID` there."""
    with suppress(OSError):
        for name in os.listdir(target):
            if found := _MADE.fullmatch(name):
                raise Refused(
                    f"{target} holds {name}: a recovery on demand is, or was, being made there",
                    hint=f"`bcsctl recover list` shows it, `bcsctl recover cancel {found[1]}` takes it away",
                )


def first_entry(target: Path) -> str | None:
    """The name of something in the directory, "" when it is empty, None when it is not there and can be made.

    Refused for what is no directory, UsageError for what this user can't read or make.
    """
    try:
        with os.scandir(target) as entries:
            first = next(iter(entries), None)
    except FileNotFoundError:
        check_parent(target)
        return None
    except NotADirectoryError:
        raise Refused(
            f"{target} is a file, not a directory", hint="name a directory that is empty or not there"
        ) from None
    except PermissionError:
        raise UsageError(f"{target} can't be read by this user", hint="name a directory of your own") from None
    return first.name if first is not None else ""


def check_parent(target: Path) -> None:
    """The nearest directory above that is there must be a directory we may write to."""
    parent = target.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise UsageError(f"{parent} is no directory, so {target} can't be made", hint="name another directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{parent} can't be written by this user", hint="name a directory of your own")
