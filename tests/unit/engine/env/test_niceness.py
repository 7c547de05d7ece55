"""A thread that gives way gets little beside one that does not, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from engine.env import niceness

SPIN = """
import os, sys, threading
from engine.env import niceness
os.sched_setaffinity(0, {int(sys.argv[1])})
if sys.argv[2] == "gives-way":
    niceness.give_way()
print("ready", flush=True)
sys.stdin.readline()
def stop():
    print(os.times().user, flush=True)
    os._exit(0)
threading.Timer(1.0, stop).start()
while True:
    pass
"""


def nice_of_this_thread() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(not niceness.may_come_back(), reason="this process may not take its nice value back")
def test_a_thread_gives_way_alone_and_comes_back() -> None:
    usual, elsewhere = nice_of_this_thread(), list[int]()

    def usual_again() -> None:
        niceness.as_usual()
        elsewhere.append(nice_of_this_thread())

    with niceness.giving_way():
        assert nice_of_this_thread() == niceness.NICE_AT_REST
        begun = threading.Thread(target=lambda: elsewhere.append(nice_of_this_thread()))
        begun.start()
        begun.join()
        again = threading.Thread(target=usual_again)
        again.start()
        again.join()
    assert elsewhere == [niceness.NICE_AT_REST, usual]
    assert nice_of_this_thread() == usual


@pytest.mark.skipif(not niceness.may_come_back(), reason="this process may not take its nice value back")
def test_beside_one_that_does_not_it_gets_little() -> None:
    """Two processes on one processor for a second: by their weights one has a tenth of what the other has."""
    cpu = str(min(os.sched_getaffinity(0)))
    spinning = [
        subprocess.Popen(
            [sys.executable, "-c", SPIN, cpu, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for how in ("gives-way", "as-usual")
    ]
    for each in spinning:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    for each in spinning:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    polite, usual = (float(each.communicate(timeout=300)[0]) for each in spinning)
    assert polite < usual / 2, (polite, usual)
