"""Giving way: a thread that does what can wait takes what others leave of processors and disks.

Linux keeps nice values and I/O priorities by thread (setpriority(2), ioprio_set(2)), and threads inherit both from the
thread that starts them. Not every process may take its nice value back: one that may not, stays as it is. Among
services systemd's weights decide; a nice value counts between threads of one service, and where there is none. An I/O
priority counts where a disk has a scheduler that reads it (bfq, mq-deadline).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NICE_AT_REST = 10
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}.get(platform.machine())
_WHO_THREAD, _CLASS_NONE, _CLASS_IDLE, _CLASS_SHIFT = 1, 0, 3, 13
_CAP_SYS_NICE = 23
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def giving_way() -> Iterator[None]:
    """This thread gives way meanwhile."""
    give_way()
    try:
        yield
    finally:
        as_usual()


def give_way() -> None:
    """From now on, in this thread."""
    _set(NICE_AT_REST, _CLASS_IDLE)


def as_usual() -> None:
    """In this thread, whatever the one that started it was doing."""
    _set(_usual_nice, _CLASS_NONE)


def set_nice(nice: int) -> None:
    """This thread's nice value, where it may be taken back; its I/O priority stays."""
    if may_come_back():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def usual() -> int:
    """The nice value that this process was started with."""
    return _usual_nice


def waited_seconds() -> float:
    """How long this thread has waited for a processor though it could have run; 0 where the kernel does not count it.
    Source: schedstat of proc(5)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def may_come_back() -> bool:
    """Whether this process may lower its threads' nice values to what they were."""
    soft = resource.getrlimit(resource.RLIMIT_NICE)[0]
    allowed = -20 if soft == resource.RLIM_INFINITY else 20 - soft
    return allowed <= _usual_nice or bool(_capabilities() >> _CAP_SYS_NICE & 1)


def _set(nice: int, io_class: int) -> None:
    thread = threading.get_native_id()
    if may_come_back():
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    if _IOPRIO_SET is not None:
        _libc.syscall(_IOPRIO_SET, _WHO_THREAD, thread, io_class << _CLASS_SHIFT)  # what it can't do it does not


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


_usual_nice = os.getpriority(os.PRIO_PROCESS, 0)
