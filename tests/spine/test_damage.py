"""A damaged journal: each kind of damage is named, with paths and times; all else can still be restored."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.embedded import Site

ADDRESS = "damage/localhost/files"
BIG = 300_000


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stopped site with a little history, and the tree that it protected."""
    place = tmp_path_factory.mktemp("damage")
    tree = place / "tree"
    tree.mkdir()
    with Site(place / "home").start() as site:
        site.protect(ADDRESS, tree)
        site.wait_protected(ADDRESS)
        for name in ("one", "two", "three"):
            (tree / name).write_bytes(os.urandom(BIG))
            row = site.source(ADDRESS)["point"]
            site.wait(lambda before=row: site.source(ADDRESS)["point"] != before, 120, "the next point")
    return place / "home", tree


def damaged_copy(healthy: tuple[Path, Path], place: Path) -> Site:
    home = place / "home"
    shutil.copytree(healthy[0], home, ignore=shutil.ignore_patterns("*.sock", "*.pid"))
    return Site(home)


def packs(site: Site) -> list[Path]:
    """Packs with a file's content: those of the three large files, oldest first."""
    found = [path for path in (site.home / "journal" / "packs").rglob("*") if path.is_file()]
    return sorted(path for path in found if path.stat().st_size > BIG)


def check(site: Site, *options: str) -> list[dict[str, object]]:
    done = site.run("check", *options, "--json", check=False)
    errors: list[dict[str, object]] = json.loads(done.stdout)["errors"]
    assert done.returncode == (6 if errors else 0), done.stderr
    return errors


def named(path: Path, site: Site) -> str:
    return str(path.relative_to(site.home / "journal"))


def test_a_healthy_journal(healthy: tuple[Path, Path], tmp_path: Path) -> None:
    site = damaged_copy(healthy, tmp_path)
    assert check(site) == []
    assert check(site, "--read-data") == []


def test_a_flipped_bit_is_named_and_costs_one_file(healthy: tuple[Path, Path], tmp_path: Path) -> None:
    site = damaged_copy(healthy, tmp_path)
    pack = packs(site)[1]
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 4
    pack.write_bytes(content)
    assert check(site) == [], "its size is right, so only reading can tell"
    [error] = check(site, "--read-data")
    assert error["object"] == named(pack, site)
    affected = error["affected"]
    assert isinstance(affected, list)
    assert {row["path"] for row in affected} == {f"{healthy[1]}/two"}
    assert all(row["from"] for row in affected)
    done = site.run("restore", ADDRESS, "--to", str(tmp_path / "out"), check=False)
    assert done.returncode == 6
    assert named(pack, site) in done.stderr.decode()
    assert not (tmp_path / "out" / "two").exists(), "nothing wrong is handed out as right"
    for name in ("one", "three"):
        assert (tmp_path / "out" / name).read_bytes() == (healthy[1] / name).read_bytes()


@pytest.mark.parametrize("how", ["truncated", "missing", "swapped"])
def test_what_became_of_a_pack(healthy: tuple[Path, Path], tmp_path: Path, how: str) -> None:
    site = damaged_copy(healthy, tmp_path)
    first, second = packs(site)[:2]
    if how == "truncated":
        os.truncate(first, first.stat().st_size - 10)
    elif how == "missing":
        first.unlink()
    else:
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
    errors = check(site, "--read-data")
    assert named(first, site) in {error["object"] for error in errors}
    assert {error["kind"] for error in errors} == {how}


@pytest.mark.parametrize("level", ["L0", "L1"])
def test_a_changed_segment_is_never_believed(healthy: tuple[Path, Path], tmp_path: Path, level: str) -> None:
    site = damaged_copy(healthy, tmp_path)
    if level == "L1":
        site.run("compact")
    segments = sorted((site.home / "journal" / level).rglob("*.parquet"))
    victim = max(segments, key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 1
    victim.write_bytes(content)
    errors = check(site)
    assert named(victim, site) in {error["object"] for error in errors}
