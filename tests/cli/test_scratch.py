"""Restores to scratch: looked at, checked, promoted as they were checked, or refused."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.model.times import format_time
from tests.cli.conftest import ADDRESS, PlainSite, Run
from tests.fidelity.walker import differences, walk


@pytest.fixture
def home(site: PlainSite, tmp_path: Path) -> Path:
    """A home of the test's own with the site's journal."""
    home = tmp_path / "own"
    site.copy(home)
    return home


def to_scratch(run: Run, home: Path, site: PlainSite, *more: str | Path, code: int = 0) -> dict[str, Any]:
    done = run("restore", ADDRESS, "--at", format_time(site.first), "--to", "scratch", *more, "--json", home=home)
    assert done.code == code, (done.out, done.err)
    return done.json


def test_from_scratch_to_its_place(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    told = to_scratch(run, home, site, "--check", "test -s a.txt", "--check", 'test "$BCS_SCRATCH" = "$PWD"')
    scratch = told["scratch"]
    assert told["verified"] and told["read_back"] and scratch["state"] == "checked"
    assert [each["code"] for each in scratch["checks"]] == [0, 0]
    tree = Path(scratch["tree"])
    assert tree.is_relative_to(home / "scratch") and (tree / "a.txt").read_text() == "one"
    before, inode = walk(tree), (tree / "a.txt").stat().st_ino
    listed = run("restore", "list", "--json", home=home).json
    assert [row["id"] for row in listed["scratches"]] == [scratch["id"]]
    target = tmp_path / "there"
    moved = run("restore", "promote", scratch["id"], "--to", target, "--json", home=home)
    assert moved.code == 0, moved.err
    assert (target / "a.txt").stat().st_ino == inode, "renamed, not copied"
    assert differences(before, walk(target)) == []
    assert run("restore", "list", "--json", home=home).json["scratches"] == []
    assert list((home / "scratch").iterdir()) == []
    lines = (home / "audit" / "pending.jsonl").read_text().splitlines()
    acts = [line for line in lines if scratch["id"] in line]
    ends = [json.loads(act) for act in acts if '"what": "promote"' in act]
    assert [(end["details"]["verified"], end["details"]["target"]) for end in ends] == [(True, str(target))]
    for what in ("restoring", "restore", "scratch-check", "promoting", "promote"):
        assert sum(f'"what": "{what}"' in act for act in acts) == 1, what


def test_what_stands_there_is_refused_or_kept_aside(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    id = to_scratch(run, home, site)["scratch"]["id"]
    target = tmp_path / "there"
    target.mkdir()
    (target / "live").write_text("live")
    refused = run("restore", "promote", id, "--to", target, "--json", home=home)
    assert refused.code == 4 and refused.json["error"]["details"]["files"] == 1
    assert (target / "live").read_text() == "live"
    done = run("restore", "promote", id, "--to", target, "--aside", "--json", home=home)
    assert done.code == 0, done.err
    [move] = done.json["moves"]
    assert (Path(move["aside"]) / "live").read_text() == "live"
    assert (target / "a.txt").read_text() == "one" and not (target / "live").exists()


def _grow(tree: Path) -> None:
    with open(tree / "a.txt", "a") as file:
        file.write("x")


def _same_size(tree: Path) -> None:
    status = (tree / "sub" / "b.bin").stat()
    with open(tree / "sub" / "b.bin", "r+b") as file:
        file.write(b"!")
    os.utime(tree / "sub" / "b.bin", ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        _grow,
        _same_size,
        lambda tree: (tree / "new").write_text(""),
        lambda tree: (tree / "link").unlink(),
        lambda tree: (tree / "a.txt").chmod(0o666),
        lambda tree: os.link(tree / "a.txt", tree / "again"),
    ],
)
def test_what_was_changed_since_is_not_promoted(
    run: Run, home: Path, site: PlainSite, tmp_path: Path, change: Any
) -> None:
    scratch = to_scratch(run, home, site)["scratch"]
    change(Path(scratch["tree"]))
    refused = run("restore", "promote", scratch["id"], "--to", tmp_path / "there", "--json", home=home)
    assert refused.code == 6 and refused.json["error"]["details"]["changes"]
    assert not (tmp_path / "there").exists()
    assert run("restore", "promote", scratch["id"], "--to", tmp_path / "there", "--changed", home=home).code == 0


def test_a_failed_check_keeps_it_from_being_promoted(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    scratch = to_scratch(run, home, site, "--check", "true", "--check", "echo no; exit 3", code=6)["scratch"]
    assert [each["code"] for each in scratch["checks"]] == [0, 3] and scratch["checks"][1]["output"] == "no\n"
    refused = run("restore", "promote", scratch["id"], "--to", tmp_path / "there", home=home)
    assert refused.code == 4 and f"`bcsctl restore check {scratch['id']} --check COMMAND`" in refused.err
    again = run("restore", "check", scratch["id"], "--check", "test -d sub", "--json", home=home)
    assert again.code == 0 and again.json["checked"]["passed"]
    assert run("restore", "promote", scratch["id"], "--to", tmp_path / "there", home=home).code == 0


def test_what_is_taken_as_it_is_is_not_called_checked(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    id = to_scratch(run, home, site, "--check", "echo more >> a.txt; exit 3", code=6)["scratch"]["id"]
    done = run("restore", "promote", id, "--to", tmp_path / "there", "--changed", home=home)
    assert done.code == 0, done.err
    assert "taken as it is though its last check failed and 1 path differs from what was kept" in done.text
    assert "is what was" not in done.text
    plain = to_scratch(run, home, site)["scratch"]["id"]
    done = run("restore", "promote", plain, "--to", tmp_path / "plain", "--changed", home=home)
    assert "is what was kept" in done.text, "nothing spoke against it"


def test_who_changed_a_tree_by_hand_is_no_check(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    scratch = to_scratch(run, home, site)["scratch"]
    _grow(Path(scratch["tree"]))
    for _ in range(2):
        told = run("restore", "check", scratch["id"], home=home)
        assert told.code == 6 and "changed since it was restored: a.txt: content" in told.err
        assert "by a check" not in told.err and "an earlier check" not in told.err and "--may-write" not in told.err
    fresh = to_scratch(run, home, site)["scratch"]
    _grow(Path(fresh["tree"]))
    refused = run("restore", "promote", fresh["id"], "--to", tmp_path / "there", home=home)
    assert "1 path differs" in refused.err and "--changed" not in refused.err


def test_a_check_that_writes(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    told = to_scratch(run, home, site, "--check", "echo more >> a.txt", code=6)
    assert told["checked"]["changes"] == [{"path": "a.txt", "what": "content"}]
    told = to_scratch(run, home, site, "--check", "echo more >> a.txt", "--may-write")
    assert told["scratch"]["state"] == "checked"
    done = run("restore", "promote", told["scratch"]["id"], "--to", tmp_path / "there", home=home)
    assert done.code == 0 and (tmp_path / "there" / "a.txt").read_text() == "onemore\n"


def test_a_check_that_comes_and_goes_changes_nothing(run: Run, home: Path, site: PlainSite) -> None:
    told = to_scratch(run, home, site, "--check", "touch sub/x && rm sub/x")
    assert told["scratch"]["state"] == "checked"
    assert (Path(told["scratch"]["tree"]) / "sub").stat().st_mtime_ns == site.first * 1000


def test_a_check_has_an_end(run: Run, home: Path, site: PlainSite) -> None:
    told = to_scratch(run, home, site, "--check", "sleep 60", "--check-timeout", "200ms", code=6)
    assert told["scratch"]["checks"][0]["code"] == 124


def test_one_file_goes_where_it_is_told(run: Run, home: Path, site: PlainSite, tmp_path: Path) -> None:
    where = ("--at", format_time(site.first), "--to", "scratch", "--json")
    id = run("restore", f"{ADDRESS}:/data/a.txt", *where, home=home).json["scratch"]["id"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "other").write_text("stays")
    assert run("restore", "promote", id, "--to", tmp_path / "there", home=home).code == 0
    assert (tmp_path / "there" / "a.txt").read_text() == "one"
    assert (tmp_path / "there" / "other").read_text() == "stays"


def test_discarded(run: Run, home: Path, site: PlainSite) -> None:
    scratch = to_scratch(run, home, site)["scratch"]
    (Path(scratch["tree"]) / "sub").chmod(0o500)
    assert run("restore", "discard", scratch["id"], home=home).code == 0
    assert list((home / "scratch").iterdir()) == [] and list((home / "restores").glob("*.json")) == []
    assert run("restore", "discard", scratch["id"], home=home).code == 5


def test_nothing_is_left_of_what_could_not_begin(run: Run, home: Path) -> None:
    assert run("restore", ADDRESS, "--at", "2999-01-01T00:00:00Z", "--to", "scratch", home=home).code == 5
    assert list((home / "scratch").iterdir()) == []


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], capture_output=True).returncode:
        pytest.skip("only root mounts")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("standing", [False, True])
def test_onto_another_file_system(run: Run, home: Path, site: PlainSite, other_disk: Path, standing: bool) -> None:
    scratch = to_scratch(run, home, site)["scratch"]
    before = walk(Path(scratch["tree"]))
    target = other_disk / "there"
    if standing:
        target.mkdir()
        (target / "live").write_text("live")
    done = run("restore", "promote", scratch["id"], "--to", target, "--aside", "--json", home=home)
    assert done.code == 0, done.err
    [move] = done.json["moves"]
    assert move["copied"] and differences(before, walk(target)) == []
    assert sorted(path.name.split("-")[0] for path in other_disk.iterdir()) == ["there"] + ["there.before"] * standing
    assert not Path(scratch["tree"]).exists()


def test_beside_the_target_it_is_a_rename(run: Run, home: Path, site: PlainSite, other_disk: Path) -> None:
    scratch = to_scratch(run, home, site, "--scratch", other_disk)["scratch"]
    assert Path(scratch["tree"]).is_relative_to(other_disk)
    done = run("restore", "promote", scratch["id"], "--to", other_disk / "there", "--json", home=home)
    assert done.code == 0 and not done.json["moves"][0]["copied"]
    assert [path.name for path in other_disk.iterdir()] == ["there"]
