"""`restore --on-demand` of a group: one command, a recovery for each source, one order over them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.tree.compare import compare
from tests import plug
from tests.embedded import Site
from tests.sample_tree import make_sample

GROUP = "demo"
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("several")
    with Site(base / "home").start() as made:
        for name in NAMES:
            (base / name).mkdir()
            make_sample(base / name)
            (base / name / "mine").write_text(name)
            made.protect(f"{GROUP}/localhost/{name}", base / name)
        for name in NAMES:
            made.wait_protected(f"{GROUP}/localhost/{name}")
        made.json("mark", GROUP, "--label", "whole")
        try:
            yield made
        finally:
            made.kill("agent")
            plug.take_away(made.home)


@pytest.fixture(autouse=True)
def _nothing_left(site: Site) -> Iterator[None]:
    yield
    for each in living(site):
        site.run("recover", "cancel", each["id"], "--yes", check=False)  # it may have come to its end by now
    assert living(site) == []


def living(site: Site) -> list[dict[str, Any]]:
    return list(site.json("recover", "list")["recoveries"])


def restore(site: Site, target: Path, *more: str) -> tuple[int, dict[str, Any]]:
    asked = ["restore", GROUP, "--at", "mark:whole", "--on-demand", "--to", str(target), "--json", *more]
    done = site.run(*asked, check=False)
    return done.returncode, json.loads(done.stdout)


def source_of(site: Site, name: str) -> Path:
    return site.home.parent / name


def same(left: Path, right: Path) -> bool:
    return compare(os.fsencode(left), os.fsencode(right), owners=os.geteuid() == 0) == []


def test_one_recovery_for_each_source_under_one_order(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "back"
    code, plan = restore(site, target, "--dry-run")
    assert code == 0 and plan["mechanism"] and not target.exists()
    code, told = restore(site, target, "--rate", "1KiB")
    assert (code, told["failed"], told["recorded"]) == (0, 0, True)
    assert told["files"] == plan["plan"]["files"] == sum(row["files"] for row in told["sources"])
    for name in NAMES:
        assert (target / "localhost" / name / "mine").read_text() == name
    now = living(site)
    assert {each["order"] for each in now} == {told["order"]}
    assert sorted(each["id"] for each in now) == sorted(row["id"] for row in told["sources"])
    listed = site.run("recover", "list").stderr.decode()
    assert f"order {told['order']}: " in listed and all(row["id"] in listed for row in told["sources"])
    for row in told["sources"]:
        site.run("recover", "finish", row["id"])
    for name in NAMES:
        assert same(source_of(site, name), target / "localhost" / name)
    wanted = f"SELECT what, count(*) FROM audit WHERE details LIKE '%{told['order']}%' GROUP BY what ORDER BY what"
    assert site.json("query", wanted)["rows"] == [["recover", 3], ["restore", 3], ["restoring", 3]]


def test_an_order_is_steered_as_one(site: Site, tmp_path: Path) -> None:
    """Its id, or the beginning of it, stands for all its recoveries that have not ended; each gets its own line."""
    asked = ["restore", GROUP, "--at", "mark:whole", "--on-demand", "--to", str(tmp_path / "back"), "--rate", "1KiB"]
    said = site.run(*asked).stderr.decode()
    now = living(site)
    order, ids = now[0]["order"], [each["id"] for each in now]
    for each in now:
        assert f"point:{each['point']} " in next(line for line in said.splitlines() if f"{each['address']} can" in line)
    assert f"`bcsctl recover finish {order}`" in said
    paused = site.run("recover", "pause", order[:8]).stdout.decode()
    assert sorted(paused.splitlines()) == sorted(f"recovery {id} is paused" for id in ids)
    assert {(each["state"], each["rate_bytes"], each["seconds_left"]) for each in living(site)} == {("paused", 0, None)}
    assert all(row.split()[-2:] == ["-", "-"] for row in site.run("recover", "list").stdout.decode().splitlines()[1:])
    told = site.json("recover", "resume", order, "--rate", "2KiB")
    assert told["order"] == order and {each["state"] for each in told["recoveries"]} == {"filling"}
    site.run("recover", "cancel", ids[0], "--yes")
    refused = site.run("recover", "cancel", order, check=False)
    assert refused.returncode == 2 and len(living(site)) == 2  # nobody can be asked
    assert len(site.run("recover", "finish", order).stdout.decode().splitlines()) == 2 and living(site) == []
    ended = site.run("recover", "pause", order, check=False)
    assert ended.returncode == 4 and ended.stdout.decode().count("has ended") == 3
    assert site.run("recover", "pause", "no such order", check=False).returncode == 5


def test_an_order_is_cancelled_as_one(site: Site, tmp_path: Path) -> None:
    _, told = restore(site, tmp_path / "back", "--rate", "1KiB")
    assert {each["state"] for each in site.json("recover", "cancel", told["order"], "--yes")["recoveries"]} == {
        "cancelled"
    }
    assert not any((tmp_path / "back" / "localhost").iterdir())


def test_a_place_that_is_being_filled_names_its_recovery(site: Site, tmp_path: Path) -> None:
    _, told = restore(site, tmp_path / "back", "--rate", "1KiB")
    code, again = restore(site, tmp_path / "back")
    first = told["sources"][0]
    assert code == 4 and f"recovery {first['id']} fills" in again["error"]["message"]
    assert "`bcsctl recover list`" in again["error"]["hint"]
    one = ["restore", first["address"], "--on-demand", "--to", first["dir"], "--json"]
    alone = json.loads(site.run(*one, check=False).stdout)
    assert alone["error"]["details"] == {"recovery": first["id"]}


def test_nothing_begins_before_all_of_it_can(site: Site, tmp_path: Path) -> None:
    """What stands at the last place, a link that leads elsewhere, a moment that one does not have."""
    target = tmp_path / "back"
    (target / "localhost" / "two").mkdir(parents=True)
    (target / "localhost" / "two" / "mine").write_text("somebody's")
    code, told = restore(site, target)
    assert (code, told["error"]["code"]) == (4, "refused") and "is not empty" in told["error"]["message"]
    assert os.listdir(target / "localhost") == ["two"] and living(site) == []
    (tmp_path / "led" / "elsewhere").mkdir(parents=True)
    (tmp_path / "led" / "localhost").symlink_to("elsewhere")
    code, told = restore(site, tmp_path / "led")
    assert code == 4 and "elsewhere" in told["error"]["message"]
    assert os.listdir(tmp_path / "led" / "elsewhere") == [] and living(site) == []
    late = source_of(site, "late")
    late.mkdir()
    (late / "file").write_text("late")
    site.protect(f"{GROUP}/localhost/late", late)
    site.wait_protected(f"{GROUP}/localhost/late")
    code, told = restore(site, tmp_path / "partly")
    assert code == 5 and list(told["error"]["details"]["sources"]) == [f"{GROUP}/localhost/late"]
    assert not (tmp_path / "partly").exists()
    code, told = restore(site, tmp_path / "partly", "--partial")
    assert code == 0 and len(told["sources"]) == 3


def test_one_that_can_not_be_made_is_told_and_the_others_go_on(site: Site, tmp_path: Path) -> None:
    """Somebody puts something where the last one is to be made, once the first one is."""
    target = tmp_path / "back"
    asked = ["restore", GROUP, "--at", "mark:whole", "--partial", "--on-demand", "--to", str(target), "--json"]
    command = [sys.executable, "-m", "bcsctl", *asked]
    with subprocess.Popen(command, env=site.environment, cwd=site.home, stdout=subprocess.PIPE) as begun:
        site.wait((target / "localhost" / "one").exists, 120, "the first tree")
        (target / "localhost" / "two").mkdir()
        (target / "localhost" / "two" / "mine").write_text("somebody's")
        told = json.loads(begun.communicate()[0])
    assert (begun.returncode, told["failed"]) == (1, 1)
    rows = {row["address"].rsplit("/", 1)[1]: row for row in told["sources"]}
    assert "is not empty" in rows["two"]["error"]["message"]
    assert {name for name, row in rows.items() if "error" not in row} == {"one", "three"}
    assert (target / "localhost" / "three" / "mine").read_text() == "three"
    assert (target / "localhost" / "two" / "mine").read_text() == "somebody's"
    failed = f"what = 'restore' AND details LIKE '%{told['order']}%' AND details LIKE '%is not empty%'"
    wanted = f"SELECT 1 FROM audit WHERE {failed}"
    assert len(site.json("query", wanted)["rows"]) == 1
    (target / "localhost" / "two" / "mine").unlink()
    again = ["restore", f"{GROUP}/localhost/two", "--at", f"point:{rows['two']['point']}", "--on-demand"]
    site.json(*again, "--to", str(target / "localhost" / "two"))
    assert (target / "localhost" / "two" / "mine").read_text() == "two"
