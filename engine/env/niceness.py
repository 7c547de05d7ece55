"""Giving way: a thread that does what can wait takes what others leave of processors and disks.

Linux keeps nice values and I/O priorities by thread (setpriority(2), ioprio_set(2)), and threads inherit both from the
thread that starts them. Not every process may take its nice value back: one that may not, stays as it is. Among
services systemd's weights decide; a nice value counts between threads of one service. Outside of services the kernel
may give each session its share first (autogroups, sched(7)): there the session has a nice value too, which a process
that leads one may set. An I/O priority counts where a disk has a scheduler that reads it (bfq, mq-deadline).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NICE_AT_REST = 12
"""A sixteenth of a processor that another one wants too (sched(7): 70 to 1024)."""
SLICE_NS = 100_000_000
"""The longest that the kernel takes."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355, "s390x": 345}.get(platform.machine())
_SCHED_ATTR = struct.Struct("IIQiIQQQ")
"""struct sched_attr in its first version: size, policy, flags, nice, priority, runtime, deadline, period."""
_RESET_ON_FORK = 1
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}.get(platform.machine())
_WHO_THREAD, _CLASS_NONE, _CLASS_IDLE, _CLASS_SHIFT = 1, 0, 3, 13
_CAP_SYS_NICE = 23
_libc = ctypes.CDLL(None, use_errno=True)
_thread = threading.local()


@contextmanager
def giving_way() -> Iterator[None]:
    """This thread gives way meanwhile."""
    give_way()
    try:
        yield
    finally:
        as_usual()


def give_way() -> None:
    """From now on, in this thread; nor does its session hurry for it."""
    _set(NICE_AT_REST, _CLASS_IDLE)
    _session.hurry(threading.get_native_id(), False)


def as_usual() -> None:
    """In this thread, whatever the one that started it was doing."""
    _set(_usual_nice, _CLASS_NONE)


def set_nice(nice: int) -> None:
    """This thread's nice value, where it may be taken back; its I/O priority stays."""
    if may_come_back():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def make_room_at_once() -> None:
    """Whoever wakes where this thread runs takes its processor at once, and not when its slice ends.

    From Linux 6.6 on a slice is protected, whatever the nice values, and looked at by ticks: an application that waits
    for its disk, and the kernel's threads that work for it, would wait 4 ms more each time. From 6.12 on one who has a
    longer slice than he who wakes is not protected (PREEMPT_SHORT); before, the value is ignored. Neither threads nor
    processes that this one starts inherit it.
    """
    if _SCHED_SETATTR is None or getattr(_thread, "room", False):
        return
    _thread.room = True
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    policy = os.sched_getscheduler(threading.get_native_id())
    if policy in (os.SCHED_OTHER, os.SCHED_BATCH):
        attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, _RESET_ON_FORK, nice, 0, SLICE_NS, 0, 0)
        _libc.syscall(_SCHED_SETATTR, 0, attributes, 0)  # a hint: what it can't do it does not


def hurry(hurries: bool) -> None:
    """Whether this thread takes its usual share of busy processors, or what others leave; its session has the usual one
    while any of its threads hurries."""
    make_room_at_once()
    set_nice(_usual_nice if hurries else NICE_AT_REST)
    _session.hurry(threading.get_native_id(), hurries)


def over() -> None:
    """This thread has its usual share, and its session hurries for it no more."""
    set_nice(_usual_nice)
    _session.hurry(threading.get_native_id(), False)


class Session:
    """The nice value of the session that this process leads; without effect where it leads none, where the kernel does
    not group by session, and where it could not be taken back."""

    def __init__(self, path: Path = Path("/proc/self/autogroup")) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hurrying: set[int] = set()
        self._usual: int | None = None
        self._now: int | None = None

    def hurry(self, thread: int, hurries: bool) -> None:
        with self._lock:
            (self._hurrying.add if hurries else self._hurrying.discard)(thread)
            if self._usual is None:
                self._usual = self._read()
            nice = self._usual if self._hurrying else max(self._usual, NICE_AT_REST)
            if nice == self._now or os.getsid(0) != os.getpid() or not may_come_back():
                return
            with suppress(OSError):  # who may do little, may do it ten times a second: the next call tries again
                self._path.write_text(str(nice))
                self._now = nice

    def _read(self) -> int:
        try:
            return int(self._path.read_text("ascii").rpartition(" ")[2])
        except (OSError, ValueError):
            return 0


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
    make_room_at_once()
    if may_come_back():
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    if _IOPRIO_SET is not None:
        _libc.syscall(_IOPRIO_SET, _WHO_THREAD, thread, io_class << _CLASS_SHIFT)  # what it can't do it does not


def _capabilities() -> int:
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


_usual_nice = os.getpriority(os.PRIO_PROCESS, 0)
_session = Session()
