"""What a mount's memory keeps for who takes over."""

from __future__ import annotations

import mmap
import os
import resource
import struct

from engine.fuse import memory
from engine.fuse.memory import CACHED, PASSED, Memory, Opening


def _pair() -> tuple[Memory, Memory]:
    """One mapping, and another of the same memory made when the first had been used."""
    fd = memory.create()
    first = Memory(fd)
    second = Memory(fd)
    os.close(fd)
    return first, second


def test_what_was_agreed_on_is_known_to_a_successor() -> None:
    first, second = _pair()
    assert first.agreed is None
    first.agree(1 << 37 | 1, 40)
    assert second.agreed == (1 << 37 | 1, 40)


def test_open_files_are_known_to_a_successor_and_their_handles_are_not_given_twice() -> None:
    fd = memory.create()
    first = Memory(fd)
    openings = [Opening(10 + number, 2 * number, os.O_RDWR, CACHED, 0) for number in range(5000)]
    handles = [first.opened(opening) for opening in openings]
    assert len(set(handles)) == 5000 and 0 not in handles
    passed = Opening(7, 9, os.O_RDONLY, PASSED, 3)
    handles.append(first.opened(passed))
    for handle in handles[:4990]:
        first.closed(handle)
    second = Memory(fd)
    os.close(fd)
    assert [number + 1 for number, _ in second.openings()] == handles[4990:]
    assert second.opening(handles[-1]) == passed
    assert second.opening(handles[0]) is None and second.opening(0) is None
    assert second.opened(passed) not in handles[4990:]


def test_a_request_stays_in_its_slot_until_it_is_done() -> None:
    first, second = _pair()
    slot = first.slot(3)
    assert second.left(3) is None
    request = struct.pack("=IIQQIIIHH", 44, 1, 2, 3, 4, 5, 6, 0, 0) + b"name"
    slot[: len(request)] = request
    left = second.left(3)
    assert left is not None and bytes(left) == request
    second.done(second.slot(3))
    assert first.left(3) is None


def test_what_was_begun_is_known_by_its_request_alone() -> None:
    first, second = _pair()
    first.intend(1000, 77)
    assert second.intended(1000) == 77
    assert second.intended(1002) is None
    first.intend(1000 + 2 * 64, 78)  # the same place
    assert second.intended(1000) is None


def test_a_populated_slot_is_written_to_without_a_fault() -> None:
    """The kernel, too, has its pages at once: on the road on which it waits for them a killed reader is an EIO."""
    fd = memory.create()
    first = Memory(fd)
    first.slot(3)[5000] = 7
    first.close()
    known = Memory(fd)
    known.populate(3)
    slot = known.slot(3)
    assert slot[5000] == 7
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for page in range(0, len(slot), mmap.PAGESIZE):
        slot[page] = 1
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before < len(slot) // mmap.PAGESIZE // 4
    slot.release()
    known.close()
    os.close(fd)
