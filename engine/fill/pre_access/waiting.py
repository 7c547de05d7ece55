"""What a thread that waits is about to do, where that decides how much of the file it needs.

An event tells a range, not a purpose. The system call in which the thread stands does (proc(5), /proc/pid/syscall: its
number and arguments as they were passed; it can't change while the thread waits). Where it can't be read, or is
io_uring's, the event's own range has to do.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import NamedTuple

from engine.fill.pre_access.fanotify import Event

_PAGE = 4096
_COLLAPSE, _INSERT = 0x08, 0x20  # of fallocate(2)


@dataclass(frozen=True, slots=True)
class _Numbers:
    mmap: int
    truncate: int
    ftruncate: int
    fallocate: int
    reads: frozenset[int]
    """read(2), pread64, readv, preadv, preadv2."""


_NUMBERS = {
    "x86_64": _Numbers(9, 76, 77, 285, frozenset({0, 17, 19, 295, 327})),
    "aarch64": _Numbers(222, 45, 46, 47, frozenset({63, 67, 65, 69, 286})),
}.get(platform.machine())


class Needed(NamedTuple):
    """What has to be there before a thread goes on; `length` 0 is to the end of the file. `reading`: it is known that
    he does no more than read."""

    offset: int
    length: int
    reading: bool = False


def needed(event: Event) -> Needed:
    """What the thread of an event needs.

    - mmap(2): all of the file, since mremap(2) makes a mapping longer without asking.
    - fallocate(2) that takes a range out, or puts one in: all of it, for what lies behind moves.
    - truncate(2): the byte before the new end, whose page the file system changes. What is cut off is not fetched;
      whether it was cut off shows the next event: the call may yet be refused.
    """
    if _NUMBERS is None or (event.length and (event.offset % _PAGE or event.length % _PAGE)):
        return Needed(event.offset, event.length)  # none of those
    return _of(_call(event.tid), event, _NUMBERS)


def _of(call: tuple[int, ...], event: Event, numbers: _Numbers) -> Needed:
    if not call:
        return Needed(event.offset, event.length)
    if call[0] == numbers.mmap or (call[0] == numbers.fallocate and call[2] & (_COLLAPSE | _INSERT)):
        return Needed(0, 0)
    if call[0] in (numbers.truncate, numbers.ftruncate) and not event.length:
        return Needed(max(0, event.offset - 1), 1)
    return Needed(event.offset, event.length, call[0] in numbers.reads)


def _call(tid: int) -> tuple[int, ...]:
    """The number and the six arguments of the call in which a thread stands; empty where that can't be told."""
    try:
        fd = os.open(f"/proc/{tid}/syscall", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        words = os.read(fd, 256).split()
    except OSError:
        return ()
    finally:
        os.close(fd)
    if len(words) < 7:
        return ()  # "running", or outside of any call
    return int(words[0]), *(int(word, 16) for word in words[1:7])
