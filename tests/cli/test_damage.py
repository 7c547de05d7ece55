"""Damage in the journal: named, kept to what it touches, and never handed out as content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.model.times import format_time

from .conftest import ADDRESS, PlainSite, Run


@pytest.fixture
def damaged(site: PlainSite, tmp_path: Path) -> Path:
    """A copy of the site in whose largest pack one bit is flipped near the end of /data/sub/b.bin."""
    home = tmp_path / "damaged"
    site.copy(home)
    pack = max((home / "journal" / "packs").rglob("*"), key=lambda file: file.stat().st_size if file.is_file() else 0)
    content = bytearray(pack.read_bytes())
    content[-20] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    return home


def test_a_flipped_bit_ends_a_cat_with_6_and_without_the_bytes(run: Run, site: PlainSite, damaged: Path) -> None:
    done = run("cat", f"{ADDRESS}:/data/sub/b.bin", "--at", format_time(site.first), home=damaged)
    assert done.code == 6
    assert site.b_bin.startswith(done.out)
    assert len(done.out) < len(site.b_bin)
    assert "packs/" in done.err


def test_a_restore_brings_back_all_else_and_ends_with_6(
    run: Run, site: PlainSite, damaged: Path, tmp_path: Path
) -> None:
    target = tmp_path / "back"
    done = run("restore", ADDRESS, "--at", format_time(site.first), "--to", target, "--json", home=damaged)
    assert done.code == 6
    assert done.json["verified"] is False
    assert [failure["path"] for failure in done.json["failures"]] == [str(target / "sub" / "b.bin")]
    assert not (target / "sub" / "b.bin").exists()
    assert (target / "link").is_symlink()


def test_a_lost_segment_is_named_and_refused(run: Run, site: PlainSite, tmp_path: Path) -> None:
    home = tmp_path / "lost"
    site.copy(home)
    second = sorted((home / "journal" / "L0").rglob("*.parquet"))[1]
    second.unlink()
    listing = run("ls", ADDRESS, home=home)
    assert listing.code != 0
    assert "missing" in listing.err
    restored = run("restore", ADDRESS, "--to", tmp_path / "back", "--json", home=home)
    assert restored.code == 6
    assert not (tmp_path / "back").exists()
    early = run("cat", f"{ADDRESS}:/data/a.txt", "--at", "point:1.16", home=home)
    assert early.out == b"one"


def test_check_finds_nothing_in_a_sound_journal(run: Run, site: PlainSite) -> None:
    for arguments in ([], ["--read-data"], ["--read-data", "--sample", "50%"]):
        done = run("check", *arguments, "--json", home=site.home)
        assert done.code == 0, done.text
        assert done.json["errors"] == []
        assert done.json["objects"] > 10
    assert "no error in" in run("check", home=site.home).text
    assert run("check", "--sample", "200%", home=site.home).code == 2


def test_a_check_is_recorded_with_what_it_found(run: Run, damaged: Path) -> None:
    checked = run("check", "--read-data", "--sample", "100%", "--json", home=damaged)
    assert (checked.code, checked.json["recorded"]) == (6, True)
    *_, act = [json.loads(line) for line in (damaged / "audit" / "pending.jsonl").read_text("ascii").splitlines()]
    assert act["what"] == "check"
    assert act["details"] == {
        "objects": checked.json["objects"],
        "bytes": checked.json["bytes"],
        "errors": 1,
        "read_data": True,
        "sample": 1.0,
    }


def test_a_check_that_can_not_be_recorded_answers_all_the_same(run: Run, damaged: Path) -> None:
    shutil.rmtree(damaged / "audit", ignore_errors=True)
    (damaged / "audit").write_text("in the way")
    checked = run("check", "--json", home=damaged)
    assert (checked.code, checked.json["recorded"], checked.json["errors"]) == (0, False, [])
    assert "could not be recorded" in checked.err


def test_check_names_the_pack_and_the_path(run: Run, site: PlainSite, damaged: Path) -> None:
    assert run("check", home=damaged).code == 0
    done = run("check", "--read-data", "--json", home=damaged)
    assert done.code == 6
    assert {error["object"].split("/")[0] for error in done.json["errors"]} == {"packs"}
    affected = [one for error in done.json["errors"] for one in error["affected"]]
    assert [(one["address"], one["path"]) for one in affected] == [(ADDRESS, "/data/sub/b.bin")]
    assert affected[0]["from"] == format_time(site.first)
    human = run("check", "--read-data", home=damaged)
    assert human.code == 6
    assert f"{ADDRESS}:/data/sub/b.bin from " in human.text
