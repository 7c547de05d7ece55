"""Answering those who wait: one thread takes events and lets pass what is there; others fetch what is not.

A reader goes on when its range is there, gets EIO when it can't be had, and waits when its filler is killed: the next
one finds in `taken` what was left, and answers it.
"""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

from engine.fill.base import Fills
from engine.fill.pre_access.fanotify import answer
from engine.fill.pre_access.taken import SLOTS, Slots, Taken
from engine.fill.pre_access.waiting import Needed, needed


class Serving:
    """Threads over the group `fd`, which stays the caller's."""

    def __init__(self, fd: int, slots: Slots, fills: Fills) -> None:
        self._fd, self._slots, self._fills = fd, slots, fills
        self._stop, self._stopped = os.pipe()
        self._former = {taken.event.fd for taken in slots.stale}
        self._settled = threading.Condition()
        self._fetchers = ThreadPoolExecutor(SLOTS, "fetch")
        self._taker = threading.Thread(target=self._take, name="take", daemon=True)

    def start(self) -> None:
        """Those first whom a former filler left waiting."""
        for taken in self._slots.stale:
            self._fetchers.submit(self._settle, taken, _keep(taken.event.fd))
        self._taker.start()

    def stop(self) -> None:
        """Take no more events. What has been taken is answered; a pending one waits for the next filler."""
        os.close(self._stopped)
        self._taker.join()
        self._fetchers.shutdown()
        os.close(self._stop)

    def _take(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop, select.POLLHUP)
        while True:
            if any(fd == self._stop for fd, _ in poll.poll()):
                return
            taken = self._slots.take(self._fd)
            if taken is None:
                continue
            self._await_former(taken.event.fd)
            try:
                wanted = needed(taken.event)
                number, size = self._number_of(taken), taken.size
                if number is not None and not taken.event.length:
                    self._fills.may_be_cut(number)
                cutting = taken.event.tid in self._fills.cutters
                if number is None or cutting or self._is_ready(number, wanted, size):
                    self._answer(taken, 0)
                else:
                    self._fetchers.submit(self._fetch, taken, number, wanted, size)
            except Exception:  # a fault of ours must not leave the others waiting for ever
                _tell()
                self._answer(taken, errno.EIO)

    def _number_of(self, taken: Taken) -> int | None:
        assert taken.dev is not None and taken.ino is not None
        return self._fills.number_of(taken.dev, taken.ino)

    def _is_ready(self, number: int, wanted: Needed, size: int) -> bool:
        return self._fills.ready(number, wanted.offset, wanted.length, size, wanted.reading)

    def _fetch(self, taken: Taken, number: int, wanted: Needed, size: int) -> None:
        self._answer(taken, self._ensured(number, wanted, size))

    def _ensured(self, number: int, wanted: Needed, size: int) -> int:
        """0, or the errno with which the access fails."""
        try:
            self._fills.ensure(number, wanted.offset, wanted.length, size, wanted.reading)
        except OSError as error:
            return error.errno or errno.EIO
        except Exception:
            _tell()
            return errno.EIO
        return 0

    def _answer(self, taken: Taken, number: int) -> None:
        """The answer before the descriptor is closed: then its number may be another event's."""
        answer(self._fd, taken.event.fd, number)
        os.close(taken.event.fd)
        self._slots.release(taken.slot)

    def _settle(self, taken: Taken, kept: int | None) -> None:
        """Answer an event of a former filler. One of which nobody knows the file any more waits for all files."""
        fd = taken.event.fd
        if taken.dev is None or taken.ino is None:
            errors = [self._ensured(file.number, Needed(0, 0), taken.size) for file in self._fills.files()]
            number = next(filter(None, errors), 0)
        else:
            found = self._number_of(taken)
            number = 0 if found is None else self._ensured(found, needed(taken.event), taken.size)
        answer(self._fd, fd, number)
        if kept is not None:
            os.close(kept)
        self._slots.release(taken.slot)
        with self._settled:
            self._former.discard(fd)
            self._settled.notify_all()

    def _await_former(self, fd: int) -> None:
        """The kernel knows an event by its descriptor's number: one with a number that a former filler's has, too, is
        not answered before that one is."""
        with self._settled:
            self._settled.wait_for(lambda: fd not in self._former)


def _keep(fd: int) -> int | None:
    """Take this number if it is free, so that no event of this process gets it meanwhile."""
    try:
        os.fstat(fd)
    except OSError:
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        if nothing == fd:
            return fd
        try:
            return os.dup2(nothing, fd, inheritable=False)
        finally:
            os.close(nothing)
    return None


def _tell() -> None:
    """Into the filler's log: what is wrong here is ours to mend."""
    traceback.print_exc(file=sys.stderr)
