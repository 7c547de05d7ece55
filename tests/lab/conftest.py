"""Labs for tests. A module that needs other hosts makes its own by `tests.lab.fixture.running`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.lab import topology
from tests.lab.fixture import journals, running
from tests.lab.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The default hosts, for all tests that leave them as they found them."""
    with running(topology.default("shared")) as lab:
        yield lab


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failure comes with what the hosts wrote to their journals."""
    report = yield
    if report.failed and (said := journals()):
        report.sections.append(("journals of the hosts", said))
    return report
