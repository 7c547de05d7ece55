"""`restore --on-demand` of a group to hosts: one command, a tree for each source on its host, one order over them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.fill.life.choosing import why_not
from tests.fidelity.walker import differences, walk
from tests.sample_tree import make_sample
from tests.spine.test_on_demand_afar import take_away
from tests.spine.test_restore_afar import Hosts

SOURCES = {"a": ("one", "two"), "b": ("three",)}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    base = tmp_path_factory.mktemp("several")
    if all(why_not(name, os.fsencode(base)) for name in ("pre-access", "fuse")):
        pytest.skip("nothing fills a tree on demand here")
    with Hosts.up(base, "ab") as made:
        for host, names in SOURCES.items():
            for name in names:
                (base / name).mkdir()
                make_sample(base / name)
                (base / name / "mine").write_text(name * 10_000)
                made.site.protect(f"g/{host}/{name}", base / name)
        for host, names in SOURCES.items():
            for name in names:
                made.site.wait_protected(f"g/{host}/{name}")
        made.site.json("mark", "g", "--label", "whole")
        try:
            yield made
        finally:
            take_away(made)


@pytest.fixture(autouse=True)
def _nothing_left(hosts: Hosts) -> Iterator[None]:
    yield
    for each in living(hosts):
        hosts.site.run("recover", "cancel", each["id"], "--yes", check=False)  # it may have come to its end by now
    assert living(hosts) == []


def living(hosts: Hosts) -> list[dict[str, Any]]:
    return list(hosts.site.json("recover", "list")["recoveries"])


def restore(hosts: Hosts, scope: str, to: str, *more: str) -> tuple[int, dict[str, Any]]:
    asked = ["restore", scope, "--at", "mark:whole", "--on-demand", "--to", to, "--json", *more]
    done = hosts.site.run(*asked, check=False)
    return done.returncode, json.loads(done.stdout)


def test_each_source_on_its_own_host_under_one_order(hosts: Hosts, tmp_path: Path) -> None:
    target = tmp_path / "back"
    code, plan = restore(hosts, "g", f"*:{target}", "--dry-run")
    assert code == 0 and not target.exists() and len(plan["sources"]) == 3 and living(hosts) == []
    code, told = restore(hosts, "g", f"*:{target}", "--rate", "1KiB")
    assert (code, told["failed"], told["recorded"]) == (0, 0, True), told
    assert told["files"] == plan["plan"]["files"] == sum(row["files"] for row in told["sources"])
    assert {(row["address"].split("/")[1], row["host"]) for row in told["sources"]} == {("a", "a"), ("b", "b")}
    for host, names in SOURCES.items():
        for name in names:
            assert (target / host / name / "mine").read_text() == name * 10_000
    assert {each["order"] for each in living(hosts)} == {told["order"]} and len(living(hosts)) == 3
    listed = hosts.site.run("recover", "list").stderr.decode()
    assert f"order {told['order']}: " in listed and all(row["id"] in listed for row in told["sources"])
    paused = hosts.site.json("recover", "pause", told["order"][:8])
    assert paused["order"] == told["order"] and len(paused["recoveries"]) == 3
    hosts.site.wait(lambda: {each["state"] for each in living(hosts)} == {"paused"}, 120, "all to be paused")
    refused = hosts.site.run("recover", "cancel", told["order"], check=False)
    assert refused.returncode == 2 and len(living(hosts)) == 3  # nobody can be asked
    finished = hosts.site.run("recover", "finish", told["order"]).stdout.decode()
    assert finished.count("is whole") == 3 and living(hosts) == []
    for host, names in SOURCES.items():
        for name in names:
            assert differences(walk(hosts.base / name), walk(target / host / name)) == []
    wanted = f"SELECT what, count(*) FROM audit WHERE details LIKE '%{told['order']}%' GROUP BY what ORDER BY what"
    assert [row for row in hosts.site.json("query", wanted)["rows"] if row[0] != "recover"] == [
        ["restore", 3],
        ["restoring", 3],
    ]


def test_an_order_is_cancelled_as_one(hosts: Hosts, tmp_path: Path) -> None:
    code, told = restore(hosts, "g/a", f"b:{tmp_path}/back", "--rate", "1KiB")
    assert code == 0 and {row["host"] for row in told["sources"]} == {"b"}
    cancelled = hosts.site.json("recover", "cancel", told["order"], "--yes")
    assert {row["state"] for row in cancelled["recoveries"]} == {"cancelled"} and living(hosts) == []
    assert not any(each.is_file() for each in (tmp_path / "back").rglob("*"))


def test_nothing_begins_before_each_has_a_point_and_one_that_can_not_be_made_is_told(
    hosts: Hosts, tmp_path: Path
) -> None:
    asked = ["restore", "g", "--at", "2020-01-01T00:00:00Z", "--on-demand", "--to", f"*:{tmp_path}/no"]
    assert hosts.site.run(*asked, check=False).returncode == 5 and living(hosts) == []
    (tmp_path / "back" / "b" / "three").mkdir(parents=True)
    (tmp_path / "back" / "b" / "three" / "mine").touch()
    code, told = restore(hosts, "g", f"*:{tmp_path}/back", "--rate", "1KiB")
    assert (code, told["failed"]) == (1, 1)
    errors = {row["address"]: row["error"]["message"] for row in told["sources"] if "error" in row}
    assert set(errors) == {"g/b/three"} and "not empty" in errors["g/b/three"]
    assert len(living(hosts)) == 2
