"""The turn to take requests: one thread has it, and who does something long lets the next one have it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from engine.fuse.turns import Turn


def test_a_second_thread_waits_until_the_first_passes_on() -> None:
    turn = Turn()
    turn.take()
    turn.take()  # it has it already
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(turn.take)
        turn_was_free = turn._lock.acquire(blocking=False)
        turn.pass_on()
        waiting.result(10)
        turn.pass_on()  # not ours any more
        assert turn._lock.locked()
        pool.submit(turn.pass_on).result(10)
    assert not turn_was_free
    assert not turn._lock.locked()


def test_who_must_wait_for_a_lock_passes_on_first() -> None:
    turn, lock = Turn(), threading.Lock()
    turn.take()
    with turn.passed_on_for(lock):
        assert turn._lock.locked()  # nobody held the lock: nothing to wait for
    lock.acquire()
    with ThreadPoolExecutor(1) as pool:
        next_one = pool.submit(_taken_and_let_go, turn, lock)
        with turn.passed_on_for(lock):
            next_one.result(10)
    assert not turn._lock.locked()


def _taken_and_let_go(turn: Turn, lock: threading.Lock) -> None:
    """What can only be done while the first thread, which waits for the lock, does not hold the turn."""
    turn.take()
    lock.release()
    turn.pass_on()
