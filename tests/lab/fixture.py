"""A lab for the time of a fixture, or a skip with the reason why there can be none; and what its hosts have to say."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.lab.errors import LabError, LabImpossible
from tests.lab.lab import Lab
from tests.lab.topology import Topology

up: list[Lab] = []
"""The labs that are up now."""


def journals(lines: int = 60) -> str:
    """The last lines of every host's journal, for a report of a failure."""
    parts = []
    for machine in (machine for lab in up for machine in lab.hosts.values()):
        with suppress(LabError):
            argv = ["journalctl", "--no-pager", "--quiet", "--boot", f"--lines={lines}"]
            parts.append(f"--- {machine.name}\n{machine.run(argv, check=False, timeout_seconds=60).stdout}")
    return "".join(parts)


@contextmanager
def running(plan: Topology) -> Iterator[Lab]:
    """The lab, up. It goes down whatever happens; being told to terminate is taken as an interrupt for that."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    lab = Lab(plan)
    try:
        lab.up(owned=True)
    except LabImpossible as error:
        pytest.skip(f"no lab: {error}")
    else:
        up.append(lab)
        try:
            yield lab
        finally:
            up.remove(lab)
            lab.down()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
