"""Restores to directories of this machine: moments that have no answer, what is in the way, wildcards, owners."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from engine.journal import control
from engine.journal.open import open_local
from engine.model.ids import Address, stream_id
from engine.model.times import format_time
from tests.cli.conftest import ADDRESS, PlainSite, Run, applied_policy


@pytest.mark.parametrize("command", ["restore", "ls", "cat"])
def test_a_moment_without_an_answer_names_both_sides(run: Run, site: PlainSite, tmp_path: Path, command: str) -> None:
    before_first, in_gap = format_time(site.first - 1), format_time(site.second + 40_000_000)
    cases = {
        before_first: (None, site.first),
        in_gap: (site.second, site.third),
        "2999-01-01T00:00:00Z": (site.third, None),
        "point:1.17": (site.first, site.second),
        "point:1.999": (site.third, None),
        "point:9.1": (None, site.first),
    }
    more = {"restore": ("--to", str(tmp_path / "back")), "ls": (), "cat": ()}[command]
    address = f"{ADDRESS}:/data/a.txt" if command == "cat" else ADDRESS
    for at, (before, after) in cases.items():
        done = run(command, address, "--at", at, *more, "--json", home=site.home)
        assert done.code == 5, (at, done.err)
        details = done.json["error"]["details"]
        for side, moment in (("before", before), ("after", after)):
            found = details[side]
            assert (found and found["at"]) == (format_time(moment) if moment else None), (at, side)
            if found:
                assert f"--at point:{found['point']}" in done.json["error"]["hint"]
                assert run("ls", ADDRESS, "--at", f"point:{found['point']}", home=site.home).code == 0
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("address", [ADDRESS, "docs"])
def test_the_command_that_is_named_works(run: Run, site: PlainSite, tmp_path: Path, address: str) -> None:
    """As it stands: where to, what of it, and how are those of the command that was given, quoted for a shell."""
    back = tmp_path / "with space" / "back"
    asked = ("restore", f"{address}:/data/s*", "--at", format_time(site.first - 1), "--to", back, "--verify", "--json")
    told = run(*asked, home=site.home).json["error"]
    command = told["details"]["command"]
    assert f"`{command}` works" in told["hint"] and "--verify" in command
    assert run(*shlex.split(command)[1:], home=site.home).code == 0
    found = back if address == ADDRESS else back / "localhost" / "files"
    assert (found / "sub" / "b.bin").read_bytes() == site.b_bin


@pytest.mark.parametrize(
    ("command", "more"),
    [("ls", ()), ("cat", ()), ("restore", ("--in-place", "--dry-run")), ("restore", ("--to", "-", "--dry-run"))],
)
def test_every_way_names_a_command_of_its_own(run: Run, site: PlainSite, command: str, more: tuple[str, ...]) -> None:
    asked = f"{ADDRESS}:/data/a.txt"
    done = run(command, asked, "--at", format_time(site.first - 1), *more, "--json", home=site.home)
    named = shlex.split(done.json["error"]["details"]["command"])
    assert named[:4] == ["bcsctl", command, asked, "--at"] and sorted(named[5:]) == sorted(more)
    assert run(*named[1:], home=site.home).code == 0


def test_an_unknown_mark_names_those_that_there_are(run: Run, site: PlainSite, tmp_path: Path) -> None:
    done = run("restore", ADDRESS, "--at", "mark:before-upgrad", "--to", tmp_path / "back", "--json", home=site.home)
    assert done.code == 5
    assert done.json["error"]["details"]["marks"][0]["label"] == "before-upgrade"
    assert "before-upgrade" in done.json["error"]["hint"]


def _first(run: Run, site: PlainSite, target: Path, *more: str) -> tuple[int, dict[str, object]]:
    done = run("restore", ADDRESS, "--at", format_time(site.first), "--to", target, *more, "--json", home=site.home)
    return done.code, done.json


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A directory that holds something of its own, and things in the way."""
    target = tmp_path / "full"
    (target / "sub").mkdir(parents=True)
    (target / "a.txt").write_text("mine")
    (target / "sub" / "b.bin").write_text("mine too")
    (target / "sub" / "other").write_text("nobody's business")
    return target


def test_what_is_in_the_way_is_counted_and_left_alone(run: Run, site: PlainSite, full: Path) -> None:
    code, told = _first(run, site, full)
    assert code == 4
    details = told["error"]["details"]  # type: ignore[index]
    assert (details["replaced"], details["files"], details["bytes"]) == (2, 2, 12)
    assert os.fspath(full / "a.txt") in details["names"]
    assert (full / "a.txt").read_text() == "mine" and not (full / "link").exists()


def test_overwrite_replaces_what_is_in_the_way_and_nothing_else(run: Run, site: PlainSite, full: Path) -> None:
    code, plan = _first(run, site, full, "--overwrite", "--dry-run")
    assert code == 0 and plan["plan"]["standing"]["files"] == 2  # type: ignore[index]
    seen = run(
        "restore", ADDRESS, "--at", format_time(site.first), "--to", full, "--overwrite", "--dry-run", home=site.home
    )
    assert "replaces     2 names, 2 of them files with 12 B" in seen.text
    one = (
        "restore",
        f"{ADDRESS}:/data/a.txt",
        "--at",
        format_time(site.first),
        "--to",
        full,
        "--overwrite",
        "--dry-run",
    )
    assert "replaces     1 name, a file with 4 B" in run(*one, home=site.home).text
    assert (full / "a.txt").read_text() == "mine"
    before = (full / "a.txt").stat().st_ino
    code, told = _first(run, site, full, "--overwrite", "--verify")
    assert code == 0 and told["verified"] and told["read_back"]
    assert (full / "a.txt").read_text() == "one" and (full / "a.txt").stat().st_ino != before
    assert (full / "sub" / "b.bin").read_bytes() == site.b_bin
    assert (full / "sub" / "other").read_text() == "nobody's business"
    assert (full / "link").readlink() == Path("sub/b.bin")
    assert sorted(os.listdir(full / "sub")) == ["b.bin", "other"]


def test_what_is_whole_already_is_not_written_again(run: Run, site: PlainSite, full: Path) -> None:
    _first(run, site, full, "--overwrite")
    inodes = {path: path.stat().st_ino for path in full.rglob("*")}
    code, told = _first(run, site, full, "--overwrite", "--verify")
    assert code == 0 and told["bytes"] == 0 and told["kept"] == told["files"]
    assert {path: path.stat().st_ino for path in full.rglob("*")} == inodes


def test_what_only_looks_whole_is_written_again(run: Run, site: PlainSite, full: Path) -> None:
    _first(run, site, full, "--overwrite")
    status = (full / "sub" / "b.bin").stat()
    with open(full / "sub" / "b.bin", "r+b") as file:
        file.seek(300_000)
        file.write(b"XYZ")
    os.utime(full / "sub" / "b.bin", ns=(status.st_mtime_ns, status.st_mtime_ns))
    code, told = _first(run, site, full, "--overwrite")
    assert code == 0 and told["bytes"] == len(site.b_bin)
    assert (full / "sub" / "b.bin").read_bytes() == site.b_bin


def test_another_type_is_refused_and_kept_aside_when_told(run: Run, site: PlainSite, full: Path) -> None:
    (full / "a.txt").unlink()
    (full / "a.txt").mkdir()
    (full / "a.txt" / "inside").write_text("deep")
    (full / "link").write_text("no link")
    code, told = _first(run, site, full, "--overwrite")
    assert code == 4 and told["error"]["details"]["conflicts_count"] == 2  # type: ignore[index]
    assert (full / "a.txt" / "inside").read_text() == "deep"
    code, told = _first(run, site, full, "--overwrite", "--aside", "--verify")
    assert code == 0 and (full / "a.txt").read_text() == "one"
    kept = {Path(path).name.split(".before-")[0]: Path(path) for path in told["kept_aside"]}  # type: ignore[union-attr]
    assert (kept["a.txt"] / "inside").read_text() == "deep"
    assert kept["link"].read_text() == "no link"
    assert kept["b.bin"].read_text() == "mine too"


def test_a_link_in_the_way_is_not_followed(run: Run, site: PlainSite, full: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (full / "sub").rename(elsewhere)
    (full / "sub").symlink_to(elsewhere)
    assert _first(run, site, full, "--overwrite")[0] == 4
    assert _first(run, site, full, "--overwrite", "--aside")[0] == 0
    assert (elsewhere / "b.bin").read_text() == "mine too"
    assert (full / "sub" / "b.bin").read_bytes() == site.b_bin


def test_wildcards(run: Run, site: PlainSite, tmp_path: Path) -> None:
    def back(pattern: str) -> tuple[int, list[str]]:
        target = tmp_path / f"back{len(list(tmp_path.iterdir()))}"
        where = ("--at", format_time(site.first), "--to", target)
        code = run("restore", f"{ADDRESS}:{pattern}", *where, "--verify", home=site.home).code
        return code, sorted(str(path.relative_to(target)) for path in target.rglob("*"))

    assert back("/data/*.txt") == (0, ["a.txt", os.fsdecode(b"caf\xe9.txt")])
    assert back("/data/**/b.*") == (0, ["sub", "sub/b.bin"])
    assert back("/data/s*") == (0, ["sub", "sub/b.bin"])
    assert back("/*/sub/[ab].bin") == (0, ["data", "data/sub", "data/sub/b.bin"])
    assert back("/data/*.none") == (5, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners(run: Run, site: PlainSite, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text("# whose\nuser 0 = 4321\ngroup * = daemon\n")
    assert _first(run, site, tmp_path / "mapped", "--owners", f"map:{table}", "--verify")[0] == 0
    status = (tmp_path / "mapped" / "a.txt").stat()
    assert (status.st_uid, status.st_gid) == (4321, 1)
    table.write_text("user nobody-of-that-name = 1\n")
    code, told = _first(run, site, tmp_path / "no", "--owners", f"map:{table}")
    assert code == 2 and "nobody-of-that-name" in told["error"]["message"]  # type: ignore[index]
    assert _first(run, site, tmp_path / "none", "--owners", "none")[0] == 0


@pytest.mark.parametrize("name", ["docs", "docs/localhost", "localhost", "docs/*/files", "*/localhost"])
def test_several_sources_land_below_their_host(run: Run, site: PlainSite, tmp_path: Path, name: str) -> None:
    done = run("restore", name, "--at", format_time(site.first), "--to", tmp_path / "back", "--json", home=site.home)
    assert done.code == 0, done.err
    assert (tmp_path / "back" / "localhost" / "files" / "a.txt").read_text() == "one"
    told = done.json
    assert told["files"] == sum(row["files"] for row in told["sources"]) == told["plan"]["files"] == 3
    assert told["sources"][0]["address"] == ADDRESS


def test_a_selector_takes_groups_by_their_labels(run: Run, site: PlainSite, tmp_path: Path) -> None:
    home = tmp_path / "own"
    site.copy(home)
    value = applied_policy(stream_id(Address(*ADDRESS.split("/"))), site.first - 1)
    value["sources"][ADDRESS]["labels"] = {"application": "finance", "location": "sf"}
    control.follow(open_local(home / "journal", b"\x5a" * 32).store, control.POLICIES, 1, value)
    where = ("--at", format_time(site.first), "--to", tmp_path / "back", "--json")
    assert run("restore", "--selector", "location=boston", *where, home=home).code == 5
    done = run("restore", ":/data/a.txt", "--selector", "application=finance,location=sf", *where, home=home)
    assert done.code == 0, done.err
    assert (tmp_path / "back" / "localhost" / "files" / "a.txt").read_text() == "one"


def test_a_link_where_a_source_is_to_land_leads_nowhere(run: Run, site: PlainSite, tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "back"
    elsewhere.mkdir()
    target.mkdir()
    (target / "localhost").symlink_to(elsewhere)
    done = run("restore", "docs", "--to", target, "--overwrite", home=site.home)
    assert done.code == 4 and list(elsewhere.iterdir()) == []


def test_a_scope_without_sources(run: Run, site: PlainSite, tmp_path: Path) -> None:
    assert run("restore", "dics", "--to", tmp_path / "back", home=site.home).code == 5
    assert run("restore", "--to", tmp_path / "back", home=site.home).code == 2
    assert run("restore", "--selector", "a=b", "--to", tmp_path / "back", home=site.home).code == 5
    assert run("restore", "a//b", "--to", tmp_path / "back", home=site.home).code == 2
