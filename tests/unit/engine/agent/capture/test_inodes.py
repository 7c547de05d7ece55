"""Which times of change can be relied on, and what is not gone though it can't be looked at."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Site, wait_for

from engine.agent.capture import walk as baseline
from engine.agent.capture.inodes import settled_ctime

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("ctime_ns", "age_ns", "settled"),
    [
        (10 * SECOND + 5, 11_000_000, False),
        (10 * SECOND + 5, 13_000_000, True),
        (10 * SECOND, 900_000_000, False),  # whole seconds: a second change may bear the same one
        (10 * SECOND, 1_900_000_000, False),  # every other second
        (10 * SECOND, 2_100_000_000, True),
    ],
)
def test_a_time_is_settled_once_no_other_change_can_bear_it(ctime_ns: int, age_ns: int, settled: bool) -> None:
    status: Any = SimpleNamespace(st_ctime_ns=ctime_ns)
    assert settled_ctime(status, ctime_ns + age_ns) == (ctime_ns if settled else -1)


@pytest.mark.parametrize("held_max", [1, 50_000])
def test_what_cannot_be_looked_at_has_not_gone(site: Site, monkeypatch: pytest.MonkeyPatch, held_max: int) -> None:
    monkeypatch.setattr(baseline, "HELD_MAX", held_max)
    for name in ("a", "b", "c"):
        (site.tree / name).write_bytes(name.encode())
    site.start().stop()
    there = site.image()
    real = os.stat

    def refuse(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if path in (b"a", b"b", b"c"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **options)

    os.utime(site.tree, ns=(1, 1))
    points = len(site.node.points())
    monkeypatch.setattr(os, "stat", refuse)
    site.start(wait=False)
    wait_for(lambda: len(site.node.points()) > points)
    assert set(there) == set(site.image())
