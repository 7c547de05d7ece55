"""Labs for tests. A module that needs other hosts makes its own by `tests.lab.fixture.running`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The default hosts, for all tests that leave them as they found them."""
    with running(topology.default("shared")) as lab:
        yield lab
