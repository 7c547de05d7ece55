"""`restore --in-place` of a group, and of what a pattern matches: each where it stands, from one mark, with one way
back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import Site
from tests.fidelity.walker import differences, walk
from tests.sample_tree import make_sample
from tests.spine.test_restore_afar import Hosts

GROUP, NAMES = "demo", ("one", "two", "three")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "home").start() as made:
        for name in NAMES:
            (tmp_path / name).mkdir()
            make_sample(tmp_path / name)
            (tmp_path / name / "deep" / "er").mkdir(parents=True)
            for each in ("a.ods", "b.ods", "c.txt"):
                (tmp_path / name / "deep" / "er" / each).write_text(f"{each} of {name}")
            made.protect(f"{GROUP}/localhost/{name}", tmp_path / name)
        for name in NAMES:
            made.wait_protected(f"{GROUP}/localhost/{name}")
        made.json("mark", GROUP, "--label", "whole")
        yield made


def settle(site: Site) -> None:
    """Until all that was done by now is in the history of each source."""
    for name in NAMES:
        stamp = site.home.parent / name / "stamp"
        stamp.write_text(f"{stamp.stat().st_mtime_ns if stamp.exists() else 0} and on")
        wanted = f"{GROUP}/localhost/{name}:{stamp}"
        site.wait(lambda wanted=wanted, stamp=stamp: _holds(site, wanted, stamp), 120, "the stamp to be captured")


def _holds(site: Site, wanted: str, stamp: Path) -> bool:
    return site.run("cat", wanted, check=False).stdout == stamp.read_bytes()


def restore(site: Site, what: str, *more: str) -> tuple[int, dict[str, Any]]:
    done = site.run("restore", what, "--in-place", *more, "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def trees(site: Site) -> list[Any]:
    return [walk(site.home.parent / name) for name in NAMES]


def same(left: list[Any], right: list[Any]) -> list[str]:
    return [each for one, other in zip(left, right, strict=True) for each in differences(one, other)]


def test_a_group_goes_back_and_back_again_by_one_command(site: Site, tmp_path: Path) -> None:
    before = trees(site)
    shutil.rmtree(tmp_path / "one" / "deep")
    (tmp_path / "two" / "plain").write_text("changed")
    (tmp_path / "two" / "new").write_text("new")
    settle(site)
    after = trees(site)
    code, plan = restore(site, GROUP, "--at", "mark:whole", "--exact", "--dry-run")
    assert code == 0 and plan["dry_run"] and same(after, trees(site)) == []
    assert plan["plan"]["make"] == 5 and plan["plan"]["rewrite"] == 2 and plan["plan"]["remove"] == 4
    assert len(plan["sources"]) == 3 and plan["plan"]["seconds_estimated"] > 0
    code, told = restore(site, GROUP, "--at", "mark:whole", "--exact", "--verify")
    assert (code, told["verified"], len(told["sources"])) == (0, True, 3), told
    assert {row["undo"] for row in told["sources"]} == {told["undo"]}
    assert same(before, trees(site)) == []
    code, back = restore(site, GROUP, "--at", told["undo"], "--exact")
    assert (code, back["verified"]) == (0, True) and same(after, trees(site)) == []
    said = site.run("restore", GROUP, "--at", "mark:whole", "--in-place", "--exact").stderr.decode()
    assert f"undo all: bcsctl restore {GROUP} --at mark:" in said


def test_nothing_is_touched_before_each_has_a_point(site: Site) -> None:
    before = trees(site)
    code, told = restore(site, GROUP, "--at", "2020-01-01T00:00:00Z")
    assert (code, told["error"]["code"]) == (5, "nothing-there")
    marks = [point for point in site.json("points", f"{GROUP}/localhost/one")["points"] if point["label"]]
    assert [point["label"] for point in marks] == ["whole"] and same(before, trees(site)) == []


def test_what_a_pattern_matches_and_nothing_else(site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "one" / "deep"
    shutil.rmtree(tree)
    (tmp_path / "one" / "plain").write_text("changed")
    settle(site)
    code, told = restore(site, f"{GROUP}/localhost/one:{tmp_path}/one/deep/**/*.ods", "--at", "mark:whole")
    assert (code, told["verified"]) == (0, True), told
    assert sorted(each.name for each in (tree / "er").iterdir()) == ["a.ods", "b.ods"]
    assert (tree / "er" / "a.ods").read_text() == "a.ods of one"
    assert (tmp_path / "one" / "plain").read_text() == "changed"
    (tree / "er" / "a.ods").write_text("written since")
    (tree / "er" / "later.ods").write_text("not then")
    settle(site)
    code, told = restore(site, f"{GROUP}/localhost/one:{tmp_path}/one/deep/er/*.ods", "--at", "mark:whole", "--exact")
    assert code == 0 and sorted(each.name for each in (tree / "er").iterdir()) == ["a.ods", "b.ods"]
    assert (tree / "er" / "a.ods").read_text() == "a.ods of one"
    code, told = restore(site, f"{GROUP}/localhost/one:{tmp_path}/one/*.pdf", "--at", "mark:whole")
    assert (code, told["error"]["code"]) == (5, "nothing-there") and "nothing matched" in told["error"]["message"]


def test_a_group_on_two_hosts(tmp_path: Path) -> None:
    with Hosts.up(tmp_path, "ab") as hosts:
        for host in "ab":
            (tmp_path / host).mkdir()
            make_sample(tmp_path / host)
            hosts.site.protect(f"g/{host}/files", tmp_path / host)
        for host in "ab":
            hosts.site.wait_protected(f"g/{host}/files")
        hosts.site.json("mark", "g", "--label", "whole")
        before = [walk(tmp_path / host) for host in "ab"]
        for host in "ab":
            (tmp_path / host / "plain").write_text("changed")
            (tmp_path / host / "new").write_text(host)
            wanted = f"g/{host}/files:{tmp_path}/{host}/new"
            hosts.site.wait(
                lambda wanted=wanted, host=host: hosts.site.run("cat", wanted, check=False).stdout == host.encode(),
                120,
                "the change to be captured",
            )
        after = [walk(tmp_path / host) for host in "ab"]
        code, told = restore(hosts.site, "g", "--at", "mark:whole", "--exact", "--verify")
        assert (code, told["verified"], len(told["sources"])) == (0, True, 2), told
        assert same(before, [walk(tmp_path / host) for host in "ab"]) == []
        code, told = restore(hosts.site, "g", "--at", told["undo"], "--exact")
        assert (code, told["verified"]) == (0, True), told
        assert same(after, [walk(tmp_path / host) for host in "ab"]) == []
