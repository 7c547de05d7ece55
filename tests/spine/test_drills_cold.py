"""Drills by on-demand start: commands over trees that are cold, then cancelled, filled or read back; nothing stays."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.fill.life.choosing import why_not
from tests.embedded import Site
from tests.spine.test_drills import (
    ADDRESS,
    GROUP,
    OTHER,
    WAIT_SECONDS,
    apply,
    drill,
    failed,
    left,
    make_source,
    own,
    settled,
    sleeping,
)

LARGE = 48 << 20
__all__ = ["own"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("cold")
    if all(why_not(name, os.fsencode(place)) for name in ("pre-access", "fuse")):
        pytest.skip("nothing fills a tree on demand here")
    make_source(place / "source")
    (place / "source" / "large").write_bytes(os.urandom(LARGE))
    (place / "other").mkdir()
    (place / "other" / "mine").write_text("other's")
    with Site(place / "home").start() as made:
        apply(made, more={OTHER: place / "other"})
        made.wait_protected(ADDRESS)
        made.wait_protected(OTHER)
        yield made


def rows(told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [check for check in told["checks"] if check["name"] == name]


def of_fillers(site: Site) -> list[int]:
    """Processes that belong to a tree of a drill of this site."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if os.fsencode(site.home / "drills") in words:
            found.append(int(entry.name))
    return found


def test_commands_run_over_cold_trees_and_rto_is_the_first_that_passes(site: Site) -> None:
    source = site.home.parent / "source"
    checks = [
        {"command": "exit 1"},
        {"command": "sleep 1; cmp ledger.csv " + str(source / "ledger.csv")},
        {"command": "sleep 3; tail -c 4096 large | cmp - <(tail -c 4096 " + str(source / "large") + ")"},
    ]
    checks[2] = {"command": ["bash", "-c", checks[2]["command"]]}
    apply(site, {"every": "1h", "onDemand": "cancel", "checks": checks})
    assert "exited with 1" in settled(site, "failed")["reason"]
    code, told = drill(site)
    assert (code, failed(told)) == (1, ["command"])
    assert told["on_demand"]["afterwards"] == "cancel" and told["on_demand"]["mechanisms"]
    second = rows(told, "command")[1]
    assert told["on_demand"]["usable_seconds"] + second["seconds"] <= told["rto_seconds"]
    assert 1 <= told["rto_seconds"] < told["seconds"] - 2.5  # the one after it is no part of it
    assert left(site) == [] and of_fillers(site) == []
    assert site.json("recover", "list", "--all")["recoveries"] == []
    assert site.json("query", "SELECT count(*) FROM audit WHERE what IN ('restore', 'restoring')")["rows"] == [[0]]


def test_without_commands_the_first_reads_are_the_check_and_all_sources_count(site: Site) -> None:
    apply(site, {"every": "1h", "onDemand": "fill"}, more={OTHER: site.home.parent / "other"})
    first = settled(site, "passed")["last"]
    assert 0 < first["rto_seconds"] < 600
    code, told = drill(site)
    assert (code, {check["name"] for check in told["checks"]}) == (0, {"restore", "first-reads", "fill", "rto", "rpo"})
    assert len(rows(told, "first-reads")) == len(rows(told, "fill")) == len(told["sources"]) == 2
    assert told["files"] == 4 and left(site) == []


def test_what_is_filled_is_read_back_and_what_was_changed_meanwhile_differs(site: Site) -> None:
    apply(site, {"every": "1h", "onDemand": "verify"})
    assert settled(site, "passed")["last"]["passed"]
    code, told = drill(site)
    assert (code, told["on_demand"]["afterwards"]) == (0, "verify")
    assert all(rows(told, name)[0]["passed"] for name in ("fill", "checksums", "attributes"))
    keep = "at=$(stat -c %y large); printf x | dd of=large bs=1 seek=70000 conv=notrunc status=none"
    apply(site, {"every": "1h", "onDemand": "verify", "checks": [{"command": f'{keep}; touch -d "$at" large'}]})
    assert "differs" in settled(site, "failed")["reason"]
    code, told = drill(site)
    assert (code, failed(told)) == (6, ["checksums"])
    assert site.source(ADDRESS)["protected"] == "unproven"


def test_one_that_is_asked_for_beside_the_policy(site: Site) -> None:
    apply(site)
    code, told = drill(site, "--on-demand", "--then", "verify")
    assert (code, told["drill"], told["on_demand"]["afterwards"]) == (0, None, "verify")
    assert site.run("drill", GROUP, "--then", "fill", check=False).returncode == 2
    code, told = drill(site, "--on-demand")
    assert (code, told["on_demand"]["afterwards"], rows(told, "fill")) == (0, "cancel", [])


def test_a_damaged_pack_fails_the_drill_where_it_is_filled(site: Site) -> None:
    apply(site)
    packs = [path for path in (site.home / "journal" / "packs").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    at = len(whole) // 2
    largest.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    try:
        code, told = drill(site, "--on-demand", "--then", "fill")
    finally:
        largest.write_bytes(whole)
    assert code == 6 and failed(told) == ["fill"], told["checks"]
    assert left(site) == [] and of_fillers(site) == []


def test_a_killed_drill_leaves_trees_that_the_next_one_takes_away(site: Site) -> None:
    apply(site, {"every": "1h", "onDemand": "cancel", "checks": [{"command": "exec sleep 4331"}]})
    site.wait(lambda: bool(sleeping("sleep 4331")), WAIT_SECONDS, "the command of a drill")
    os.kill(int(json.loads((site.home / "drills" / "lock").read_text())["pid"]), signal.SIGKILL)
    site.wait(lambda: not sleeping("sleep 4331"), WAIT_SECONDS, "its command to go with it")
    apply(site)
    assert drill(site, "--on-demand")[0] == 0
    assert left(site) == [] and of_fillers(site) == []
    assert str(site.home / "drills") not in Path("/proc/self/mountinfo").read_text()


def test_a_node_that_stops_ends_it_and_no_filler_stays(own: Site) -> None:
    apply(own, {"every": "1h", "onDemand": "cancel", "checks": [{"command": "exec sleep 4332"}]})
    own.wait(lambda: bool(sleeping("sleep 4332")), WAIT_SECONDS, "the command of a drill")
    own.stop()
    assert sleeping("sleep 4332") == [] and left(own) == [] and of_fillers(own) == []
    assert str(own.home / "drills") not in Path("/proc/self/mountinfo").read_text()
