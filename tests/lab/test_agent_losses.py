"""A host behind a bad line, slow, lossy and cut, loses its power too: nothing acknowledged is lost.

BCS_LAB_SECONDS says how long the changes go on: 120 for a line that is cut for half a minute.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from engine.model.times import format_time, parse_time
from tests.lab.fixture import running
from tests.lab.policies import TREE, site
from tests.lab.test_losses import SPARE, Scene, assert_equal
from tests.lab.topology import DATABASE, NODE, SF, Topology
from tests.lab.topology import SPARE as SPARE_HOST

SECONDS = float(os.environ.get("BCS_LAB_SECONDS", "12"))
HOST = "sf-db1"
SLOW = {"delay_ms": 40.0, "rate_mbit": 10.0}
"""On either side of the line: 80 ms there and back."""

LOSSY = {"loss": 0.02}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running(Topology("agent-losses", (SF,), (NODE, DATABASE, SPARE_HOST))) as lab:
        policies = tmp_path_factory.mktemp("policies")
        (policies / "site.yaml").write_text(site(lab.inventory, HOST, spare=SPARE))
        made = Scene(lab, policies, {})
        lab.hosts[HOST].run(["mkdir", "-p", TREE])
        yield made
        for process in made.changing.values():
            process.kill()
            process.wait()


def now() -> int:
    return time.time_ns() // 1000


def test_a_bad_line_and_lost_power(scene: Scene) -> None:
    host, part = scene.lab.hosts[HOST], SECONDS / 4
    applied = scene.bcsctl("apply", "--yes", "--wait")
    assert applied["converged"], applied
    scene.begin_changes(HOST, 1)

    # Slow: what happens gets there all the same, a little later.
    host.wan(**SLOW)
    time.sleep(part)
    asked = now()
    scene.until(lambda: scene.caught_up(HOST, asked), 120)
    assert scene.gaps(HOST) == []

    # Lossy, and slow.
    host.wan(**SLOW, **LOSSY)
    time.sleep(part)
    asked = now()
    scene.until(lambda: scene.caught_up(HOST, asked), 120)
    host.write(f"{TREE}/before the cut", "1\n")

    # Cut: the node says how far it is, and no more; then it is told everything, in every state.
    host.cut()
    cut_at = now()
    time.sleep(0.5)
    host.write(f"{TREE}/during the cut", "first\n")
    time.sleep(3.0)  # a host's clock and its node's agree but to half of what the line takes
    during = now()
    time.sleep(3.0)
    host.write(f"{TREE}/during the cut", "second\n")
    time.sleep(max(part, 30.0 if SECONDS >= 120 else 4.0))
    through_at = scene.source(HOST)["through_at"]
    assert parse_time(through_at, 0) <= cut_at + 2_000_000, "nobody could tell it of more"
    host.heal()
    host.wan(**LOSSY)
    asked = now()
    scene.until(lambda: scene.caught_up(HOST, asked), 120)
    assert scene.gaps(HOST) == [], "neither a slow line nor a cut one costs a change"
    assert scene.source(HOST)["protected"] == "protected"
    to, at = f"{SPARE}:/restored/during", format_time(during)
    assert scene.bcsctl("restore", f"work/{HOST}/files", "--to", to, "--at", at, "--verify")["verified"]
    assert scene.lab.hosts[SPARE].read("/restored/during/during the cut") == "first\n"

    # Power lost under load, behind that line. What the node had by then is what it has.
    host.write(f"{TREE}/acknowledged", "before the power went\n")
    asked = now()
    scene.until(lambda: scene.caught_up(HOST, asked), 120)
    dark_from = now()
    host.power_off()
    scene.changing.pop(HOST).wait(120)
    host.power_on()
    host.wan(**LOSSY)
    scene.begin_changes(HOST, 2)
    time.sleep(part)
    scene.end_changes(HOST)
    ended = now()
    scene.until(lambda: scene.caught_up(HOST, ended), 120)
    host.wan()
    restored = scene.restore(HOST, "/restored/all")
    assert restored["verified"], restored
    assert_equal(scene.manifest(SPARE, "/restored/all"), scene.manifest(HOST))
    assert scene.lab.hosts[SPARE].read("/restored/all/acknowledged") == "before the power went\n"
    [gap] = scene.gaps(HOST)
    assert parse_time(gap["from"], 0) <= dark_from + 1_000_000 and gap["to"]
