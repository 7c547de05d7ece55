"""A lab for the time of a fixture, or a skip with the reason why there can be none."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.errors import LabImpossible
from tests.lab.lab import Lab
from tests.lab.topology import Topology


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
        try:
            yield lab
        finally:
            lab.down()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
