"""The agent dies at every place that the sources name, the first time it passes it and the second time.

The places are found by reading the agent's sources, so none can be forgotten. After each death the points that were
there before are the same, the history comes to equal the disk, and the time in which changes may have been missed shows
as a gap that is closed.
"""

from __future__ import annotations

import ast
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import count
from pathlib import Path

import pytest

from tests.failures.host import CRASHED, ROOT, SMALL, Host, a_host, site_now
from tests.mounts import mounted

pytestmark = pytest.mark.timeout(1800)  # a source's test waits for those that were begun before it, too

AT_ONCE = 4
POINTS_A_LIFE, SECONDS_A_LIFE = 10, 1.5
"""Enough for housekeeping to be done, which is each second."""

HANGS_SECONDS = 600.0
"""A life in which so few points are made for so long hangs: crowds have kept one of a few seconds for two minutes."""

LARGE_BYTES = (4 << 20) + 100_000
FROZEN_BYTES = 40 << 20


def places(below: str) -> dict[str, list[str]]:
    """source file -> the places in it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "engine" / below).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash":
                (place,) = node.args
                assert isinstance(place, ast.Constant), f"{path}: a place is named by a literal"
                found[str(path.relative_to(ROOT / "engine"))].append(place.value)
    return dict(found)


PLACES = places("agent")


def test_every_place_has_a_name_of_its_own() -> None:
    names = [name for each in places("").values() for name in each]
    assert len(names) == len(set(names)) > 30


def test_a_place_that_lives_of_an_agent_do_not_pass_has_a_test_of_its_own() -> None:
    others = {name for each in places("").values() for name in each}.difference(*PLACES.values())
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert not [name for name in others if f'"{name}:' not in tests]


Deaths = dict[str, list[Future[None]]]


@pytest.fixture(scope="module")
def deaths(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deaths]:
    """All that this run is to try, a few at a time whatever their sources are: most of a life is waiting."""
    wanted = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    sources = [each["source"] for each in wanted if each.get("source") in PLACES]
    base = tmp_path_factory.mktemp("deaths")
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {
            source: [pool.submit(die_again_and_again, base / place, source, place) for place in PLACES[source]]
            for source in sources
        }
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("source", sorted(PLACES))
def test_death_at_every_place(deaths: Deaths, source: str) -> None:
    for died in deaths[source]:
        died.result()


def die_again_and_again(base: Path, source: str, place: str) -> None:
    """At its first passing, at once again in the next life, and at its second passing in one life, if there is one."""
    frozen = source.startswith("agent/points")
    with mounted("ext4", FROZEN_BYTES) if frozen else nullcontext(None) as tree, a_host(base, tree=tree) as host:
        if frozen:
            host.protect([host.tree], crash_points={"every_seconds": 0.3, "freeze": True})
        numbers = count()
        for number in range(6):
            change(host, next(numbers))
            (host.tree / f"d{number}").mkdir()
            for name in "abc":
                (host.tree / f"d{number}" / name).write_bytes(os.urandom(500))
        (host.tree / "large").write_bytes(b"large" * (LARGE_BYTES // 5))
        lives = [live(host, f"{place}:{passing}", numbers) for passing in (1, 1, 2)]
        while len(deaths := [died_at for died_at in lives if died_at is not None]) < 2:
            assert len(lives) < 5, f"{place} is passed too rarely: {lives}\n{host.log()}"
            lives.append(live(host, f"{place}:1", numbers))
        host.start(limits=SMALL)
        host.settle()
        host.protected()
        first = next(point.at for point in host.node.points())
        for died_at in deaths:
            covered = any(gap.gap_from <= died_at <= gap.at for gap in host.gaps())
            assert covered or died_at < first, f"{place}: {died_at}, {first}, {host.gaps()}"
        change(host, next(numbers))
        host.settle()
        host.check()
        assert host.node.head.epoch == 1
        assert host.end() == 0


def live(host: Host, crash_at: str, numbers: count[int]) -> int | None:
    """A life with all that happens in one; when it died of the place, None if it came to its end.

    What the node has as points before is remembered, to be compared with later.
    """
    host.points.update((point.lsn, host.image(point.lsn)) for point in host.node.points()[-2:])
    had = len(host.node.points())
    host.node.change()  # the generation of what is desired
    host.start(crash_at, limits=SMALL)
    began, lives_since = time.monotonic(), 0.0
    while host.living.poll() is None:
        now, points = time.monotonic(), len(host.node.points())
        assert now - began < HANGS_SECONDS, f"{crash_at}: too few points are made\n{host.log()}"
        lives_since = lives_since or (now if points > had else 0.0)
        if points >= had + POINTS_A_LIFE and now - lives_since > SECONDS_A_LIFE:
            break
        change(host, next(numbers))
        time.sleep(0.03)
    code = host.end()
    assert code in (0, CRASHED), host.log()
    died_at = site_now()
    change(host, next(numbers))
    return died_at if code == CRASHED else None


def change(host: Host, number: int) -> None:
    """A few changes, others each time."""
    tree = host.tree
    (tree / f"new{number}").write_bytes(os.urandom(300))
    (tree / f"kept{number % 3}").write_bytes(b"%d" % number * 200)
    (tree / f"new{number - 4}").unlink(missing_ok=True)
    if (tree / "large").exists() and number % 5 == 0:
        with (tree / "large").open("r+b") as file:
            file.seek(number * 8192 % LARGE_BYTES)
            file.write(os.urandom(100))
    if number % 7 == 6:
        (tree / f"renamed{number}").mkdir()
        (tree / f"renamed{number}").rename(tree / f"moved{number}")
