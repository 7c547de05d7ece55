"""What is said when something is wrong: what is missing, what there is instead, names as they can be given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.journal import control
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import Address, stream_id
from engine.model.points import parse_moment
from engine.recovery import unfinished
from engine.recovery.unfinished import Begun
from engine.wire.batch import NO_HASH, BatchBuilder
from tests.cli.conftest import ADDRESS, NAME_NOT_UTF8, PlainSite, Run, applied_policy, commit

ESCAPED = "/data/caf\\xe9.txt"


def test_a_target_that_cannot_be_made_leaves_nothing(run: Run, site: PlainSite) -> None:
    done = run("restore", ADDRESS, "--to", "/proc/x", home=site.home)
    assert done.code == 1 and "/proc/x can't be made" in done.err and "b'" not in done.err
    assert "/proc/x" not in run("restore", "list", "--json", home=site.home).text


def test_a_selector_names_labels_and_nothing_internal(run: Run, site: PlainSite, tmp_path: Path) -> None:
    done = run("restore", "--selector", "a=b", "--to", tmp_path / "back", home=site.home)
    assert done.code == 5 and "label" in done.err
    assert "_audit" not in done.err and "localhost" not in done.err
    unknown = run("restore", "nobody", "--to", tmp_path / "back", home=site.home)
    assert unknown.code == 5 and "docs" in unknown.err and "_audit" not in unknown.err


def test_moments(run: Run, site: PlainSite) -> None:
    assert run("ls", ADDRESS, "--at", "now", home=site.home).code == 0
    assert parse_moment("now", 7).at == 7
    refused = run("ls", ADDRESS, "--at", "yesterday", home=site.home)
    assert refused.code == 2 and all(word in refused.err for word in ("latest", "now", "point:", "mark:"))
    assert "at point:1." in run("ls", f"{ADDRESS}:/data/nothing", home=site.home).err


def test_a_name_as_it_was_shown_can_be_given_back(run: Run, site: PlainSite, tmp_path: Path) -> None:
    assert ESCAPED.removeprefix("/data/") in run("ls", ADDRESS, home=site.home).text
    assert run("cat", f"{ADDRESS}:{ESCAPED}", home=site.home).code == 0
    assert run("ls", f"{ADDRESS}:{ESCAPED}", home=site.home).code == 0
    assert run("restore", f"{ADDRESS}:{ESCAPED}", "--to", tmp_path / "back", home=site.home).code == 0
    assert list((tmp_path / "back").iterdir()) == [tmp_path / "back" / NAME_NOT_UTF8.decode("utf-8", "surrogateescape")]


def test_a_group_where_a_source_is_wanted_and_the_other_way_round(run: Run, site: PlainSite) -> None:
    for command in (("ls", "docs"), ("cat", "docs:/data/a.txt")):
        refused = run(*command, home=site.home)
        assert refused.code == 2 and ADDRESS in refused.err
    for command in (("mark", ADDRESS, "--label", "x"), ("drill", ADDRESS)):
        refused = run(*command, home=site.home)
        assert refused.code == 2 and "is a source; its group is docs" in refused.err


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A home with two restores that were broken off."""
    home = tmp_path / "home"
    home.mkdir()
    for id in ("7aa41111", "7ab42222"):
        unfinished.note(home, Begun(id, str(tmp_path / id), {"scope": ADDRESS}, 1))
    return home


def test_the_beginning_of_an_id_discards(run: Run, begun: Path) -> None:
    assert run("restore", "discard", "7a", home=begun).code == 5
    assert run("restore", "discard", "7aa4", home=begun).code == 0
    assert [one.id for one in unfinished.every(begun)] == ["7ab42222"]


def test_checks_are_counted_and_a_changed_tree_is_told(run: Run, site: PlainSite, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    site.copy(home)
    checks = [word for command in ("true", "false", "echo more >> renamed.txt") for word in ("--check", command)]
    done = run("restore", ADDRESS, "--to", "scratch", *checks, "--json", home=home)
    again = run("restore", "check", done.json["scratch"]["id"], "--check", "false", "--check", "true", home=home)
    assert again.code == 6
    assert "1 of 2 checks failed" in again.err and "an earlier look found 1 path of this tree changed" in again.err


def test_a_plan_tells_what_is_written_and_not_holes(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "sparse"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "master.key").write_text("5a" * 32 + "\n")
    journal = open_local(home / "journal", b"\x5a" * 32, create=True)
    address = Address(*ADDRESS.split("/"))
    stream, at = stream_id(address), SYSTEM.now() - 60_000_000
    control.follow(journal.store, control.POLICIES, 0, applied_policy(stream, at))
    with Committer(journal, "n1") as committer:
        committer.register(address)
        head = committer.open_stream(stream, "agent", None).head
        builder = BatchBuilder(stream, head.epoch, 1, NO_HASH)
        data = builder.inode(at, None, "d", 0o755, 0, 0, 0, at * 1000)
        builder.dentry(at, 0, b"data", data)
        file = builder.inode(at, None, "f", 0o644, 0, 0, 1 << 30, at * 1000)
        builder.dentry(at, data, b"sparse", file)
        builder.extent(at, file, 4096, b"x" * 4096)
        builder.mark(at, "baseline", point_class="quiet")
        commit(committer, builder)
    asked = ("restore", ADDRESS, "--to", tmp_path / "back", "--dry-run")
    plan = run(*asked, "--json", home=home).json["plan"]
    assert (plan["bytes"], plan["data_bytes"]) == (1 << 30, 4096) and plan["seconds_estimated"] < 2
    for way in ((), ("--on-demand",)):
        assert "1 with 4.0 KiB (1.0 GiB with their holes)" in run(*asked, *way, home=home).text
    text = run("restore", ADDRESS, "--to", "scratch", "--dry-run", home=home).text
    assert "would go to  scratch, in a new directory below" in text
    alone = (*asked, "--on-demand", "--json")
    of_group = ("restore", address.group, "--to", tmp_path / "back", "--dry-run", "--on-demand", "--json")
    scratch = ("restore", ADDRESS, "--to", "scratch", "--dry-run", "--json")
    for way in (alone, of_group, scratch):
        answer = run(*way, home=home).json
        assert answer.get("mechanism_why", "") == ""  # there is room for this hole
        told = answer["plan"]
        assert [told[name] for name in ("data_bytes", "seconds_estimated")] == [4096, plan["seconds_estimated"]]
