"""Options that all tests know, and how several runs share the files between them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

LAB = "tests/lab/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write golden files anew instead of comparing.")
    parser.addoption("--claims", metavar="DIR", help="A file of tests is run by the one run that claims it in DIR.")
    parser.addoption("--lab-first", action="store_true", help="Claim the files of the lab first, instead of last.")


def pytest_configure() -> None:
    """Being told to terminate is an interrupt: what was started, mounted and made goes. An interrupt is one though a
    shell has it ignored in what it starts in the background: commands that tests interrupt would ignore it too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """As pytest's own, but for the files that another run has claimed; each is claimed as the one before it ends."""
    directory = session.config.getoption("--claims")
    if directory is None:
        return None
    if session.testsfailed:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    items = claimed(session.items, Path(directory), session.config.getoption("--lab-first"))
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def claimed(items: list[pytest.Item], directory: Path, lab_first: bool) -> Iterator[pytest.Item]:
    """The tests of the files that nobody had claimed when their turn came."""
    by_file = [(name, list(tests)) for name, tests in groupby(items, lambda item: item.nodeid.partition("::")[0])]
    for name, tests in sorted(by_file, key=lambda each: each[0].startswith(LAB) is not lab_first):
        try:
            os.close(os.open(directory / name.replace("/", "!"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        yield from tests
