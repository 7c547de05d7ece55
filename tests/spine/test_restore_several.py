"""A group of several sources as one restore: to a directory, as one tar stream, to hosts; scratch onto a live one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.tree.compare import compare
from tests.embedded import Site
from tests.sample_tree import make_sample
from tests.spine.test_restore_afar import Hosts

GROUP = "demo"
NAMES = ("one", "two")


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
        yield made


def _source(site: Site, name: str) -> Path:
    return site.home.parent / name


def _same(left: Path, right: Path) -> bool:
    return compare(os.fsencode(left), os.fsencode(right), owners=os.geteuid() == 0) == []


def test_a_group_to_a_directory(site: Site, tmp_path: Path) -> None:
    plan = site.json("restore", GROUP, "--at", "mark:whole", "--to", str(tmp_path / "back"), "--dry-run")
    assert plan["plan"]["files"] == sum(row["plan"]["files"] for row in plan["sources"])
    assert plan["plan"]["bytes"] == sum(row["plan"]["bytes"] for row in plan["sources"]) and len(plan["sources"]) == 2
    told = site.json("restore", GROUP, "--at", "mark:whole", "--to", str(tmp_path / "back"), "--verify")
    assert told["failures"] == [] and told["verified"] and told["files"] == plan["plan"]["files"]
    for name in NAMES:
        assert _same(_source(site, name), tmp_path / "back" / "localhost" / name)


def test_a_group_as_one_tar_stream(site: Site, tmp_path: Path) -> None:
    archive = site.run("restore", GROUP, "--at", "mark:whole", "--to", "-").stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.extractfile("./localhost/one/mine").read() == b"one"  # type: ignore[union-attr]
        assert opened.extractfile("./localhost/two/mine").read() == b"two"  # type: ignore[union-attr]
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", "-", "-C", tmp_path / "out", "--xattrs"], input=archive, check=True)
    for name in NAMES:
        assert (tmp_path / "out" / "localhost" / name / "mine").read_text() == name


def test_a_path_in_some_of_them(site: Site, tmp_path: Path) -> None:
    wanted = f"{GROUP}:{_source(site, 'two')}/min*"
    done = site.run("restore", wanted, "--at", "mark:whole", "--to", str(tmp_path / "back"), "--json")
    assert b"demo/localhost/one is left out" in done.stderr
    assert [str(path.relative_to(tmp_path / "back")) for path in (tmp_path / "back").rglob("mine")] == [
        "localhost/two/mine"
    ]


def test_a_time_that_some_do_not_have(site: Site, tmp_path: Path) -> None:
    late = _source(site, "late")
    late.mkdir()
    (late / "file").write_text("late")
    site.protect(f"{GROUP}/localhost/late", late)
    site.wait_protected(f"{GROUP}/localhost/late")
    asked = ["restore", GROUP, "--at", "mark:whole", "--to", str(tmp_path / "back"), "--json"]
    refused = site.run(*asked, check=False)
    assert refused.returncode == 5
    assert list(json.loads(refused.stdout)["error"]["details"]["sources"]) == [f"{GROUP}/localhost/late"]
    done = site.run(*asked, "--partial")
    assert json.loads(done.stdout)["files"] > 0 and not (tmp_path / "back" / "localhost" / "late").exists()


def test_scratch_takes_the_place_of_a_live_source(site: Site) -> None:
    """What was checked stands there in one step, what stood there is aside, and the history goes on."""
    source, address = _source(site, "one"), f"{GROUP}/localhost/one"
    told = site.json("restore", address, "--at", "mark:whole", "--to", "scratch", "--check", "grep -qx one mine")
    assert told["scratch"]["state"] == "checked"
    (source / "mine").write_text("changed by mistake")
    assert site.run("restore", "promote", told["scratch"]["id"], check=False).returncode == 4
    moved = site.json("restore", "promote", told["scratch"]["id"], "--aside")
    [move] = moved["moves"]
    assert (source / "mine").read_text() == "one" and Path(move["to"]) == source
    assert (Path(move["aside"]) / "mine").read_text() == "changed by mistake"
    (source / "after").write_text("after")
    site.wait(
        lambda: site.run("cat", f"{address}:{source}/after", check=False).stdout == b"after", 120, "the write after"
    )
    assert site.run("cat", f"{address}:{source}/mine").stdout == b"one"


def test_a_group_to_hosts(tmp_path: Path) -> None:
    with Hosts.up(tmp_path, "ab") as hosts:
        for host in "ab":
            (tmp_path / f"tree-{host}").mkdir()
            (tmp_path / f"tree-{host}" / "mine").write_text(host)
            hosts.site.protect(f"g/{host}/files", tmp_path / f"tree-{host}")
        for host in "ab":
            hosts.site.wait_protected(f"g/{host}/files")
        for number, to in enumerate(("b:", "*:")):
            target = tmp_path / f"back{number}"
            plan = hosts.site.json("restore", "g", "--to", f"{to}{target}", "--dry-run")
            assert plan["plan"]["files"] == 2 and not target.exists()
            told = hosts.site.json("restore", "g", "--to", f"{to}{target}", "--verify")
            assert told["verified"] and told["files"] == 2
            assert [row["host"] for row in told["sources"]] == (["b", "b"] if to == "b:" else ["a", "b"])
            for host in "ab":
                assert _same(tmp_path / f"tree-{host}", target / host / "files")
        (tmp_path / "half" / "b" / "files").mkdir(parents=True)
        (tmp_path / "half" / "b" / "files" / "mine").write_text("live")
        refused = hosts.site.run("restore", "g", "--to", f"*:{tmp_path}/half", check=False)
        assert refused.returncode == 4 and not (tmp_path / "half" / "a").exists(), "nothing begins before all of it can"
        told = hosts.site.json("restore", "g", "--to", "*:scratch")
        trees = {row["host"]: Path(row["scratch"]["tree"]) for row in told["sources"]}
        assert told["verified"] and "scratch" not in told and sorted(trees) == ["a", "b"]
        assert all(_same(tmp_path / f"tree-{host}", tree) for host, tree in trees.items())
