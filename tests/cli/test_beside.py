"""What a recovery to an earlier moment has left beside the history is found, told as such, and brought back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.env.clock import SYSTEM
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.model.ids import Position
from engine.model.times import format_time
from engine.query.points import points
from engine.query.session import Session
from engine.query.streams import by_name
from engine.wire.batch import BatchBuilder

from .conftest import ADDRESS, PlainSite, Run, commit

CAUSE = "recovery 5f3a9c01aa17"


@dataclass(frozen=True)
class Forked:
    """`PlainSite`, of which a recovery has gone back to `first`: since then a file `new` came, after a gap. What the
    source was at its second and third points lies beside the history, and so does the gap between them."""

    home: Path
    left: Position
    told: str
    before: PlainSite


@pytest.fixture(scope="module")
def forked(site: PlainSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    home = tmp_path_factory.mktemp("forked") / "home"
    home.mkdir()
    site.copy(home)
    journal = open_local(home / "journal", b"\x5a" * 32)
    stream = next(info.id for address, info in by_name(journal).items() if str(address) == ADDRESS)
    with Session(journal) as session:
        first = points(session, stream)[0].position
    with Committer(journal, "n1") as committer:
        committer.forks.open(stream, first, CAUSE)
        head = committer.open_stream(stream, "agent", None).head
        assert (head.epoch, head.lsn) == (2, first.lsn)
        builder = BatchBuilder(stream, head.epoch, head.lsn + 1, head.hash)
        at = SYSTEM.now()
        builder.mark(at, "gap", label="a recovery went on", gap_from=at - 1000)
        builder.dentry(at, 1, b"new", builder.inode(at, None, "f", 0o644, 0, 0, 0, at * 1000))
        builder.mark(at, "pass", point_class="quiet")
        commit(committer, builder)
    yield Forked(home, first, f"beside this history, which left it at {first} ({CAUSE})", site)


def aside(forked: Forked) -> dict[str, str]:
    return {"left": str(forked.left), "cause": CAUSE}


def test_log_lists_what_only_lies_beside_with_commands_that_work(run: Run, forked: Forked, tmp_path: Path) -> None:
    path = f"{ADDRESS}:/data/renamed.txt"
    told = run("log", path, "--json", home=forked.home)
    assert (told.code, told.json["entries"]) == (0, [])
    [beside] = told.json["beside"]
    assert {name: beside[name] for name in ("left", "cause", "damaged")} == {**aside(forked), "damaged": None}
    assert [one["change"] for one in beside["entries"]] == ["changed", "renamed from"]
    for number, one in enumerate(beside["entries"]):
        command = shlex.split(one["restore"])
        back = run(*command[1:-1], tmp_path / str(number), home=forked.home)
        assert back.code == 0 and forked.told in back.text
        assert (tmp_path / str(number) / Path(one["path"]).name).read_bytes() == b"two!"
    shown = run("log", path, home=forked.home)
    assert "in the present history there never was a /data/renamed.txt; beside it there was" in shown.err
    assert f"{forked.told}:" in shown.text and beside["entries"][0]["restore"] in shown.text
    assert run("log", f"{ADDRESS}:/data/nowhere", home=forked.home).code == 5


def test_log_lists_both_histories(run: Run, forked: Forked) -> None:
    told = run("log", f"{ADDRESS}:/data/a.txt", "--json", home=forked.home).json
    assert [one["change"] for one in told["entries"]] == ["created"]
    assert [one["change"] for one in told["beside"][0]["entries"]] == ["changed", "renamed to"]
    last = run("log", f"{ADDRESS}:/data/a.txt", "--json", "--limit", "1", home=forked.home).json
    assert (last["entries"], last["beside"][0]["entries"]) == (told["entries"], told["beside"][0]["entries"][-1:])
    new = run("log", f"{ADDRESS}:/data/new", "--json", home=forked.home).json
    assert [one["change"] for one in new["entries"]] == ["created"] and new["beside"] == []
    before = run("log", f"{ADDRESS}:/data/a.txt", "--json", home=forked.before.home).json
    assert before["beside"] == [] and len(before["entries"]) == 3


def test_search_finds_what_lies_beside(run: Run, forked: Forked, tmp_path: Path) -> None:
    [hit] = run("search", "renamed", "--deleted", "--json", home=forked.home).json["entries"]
    assert (hit["path"], hit["gone"], hit["beside"]) == ("/data/renamed.txt", True, aside(forked))
    back = run("cat", f"{ADDRESS}:/data/renamed.txt", "--at", f"point:{hit['last']['point']}", home=forked.home)
    assert back.out == b"two!" and forked.told in back.err
    now, then = run("search", "a.txt", "--json", home=forked.home).json["entries"]
    assert (now["gone"], now["size"], "beside" in now) == (False, 3, False)
    assert (then["gone"], then["size"], then["beside"]) == (False, 4, aside(forked))
    assert run("search", "a.txt", "--deleted", "--json", home=forked.home).json["entries"] == []
    unchanged = run("search", "b.bin", "--json", home=forked.home).json["entries"]
    assert [(one["gone"], "beside" in one) for one in unchanged] == [(False, False)]
    mine = tmp_path / "mine"
    mine.write_bytes(b"two!")
    alike = run("search", "--like", mine, "--deleted", "--json", home=forked.home).json["entries"]
    assert [(one["path"], one["beside"]) for one in alike] == [
        ("/data/a.txt", aside(forked)),
        ("/data/renamed.txt", aside(forked)),
    ]
    shown = run("search", ".txt", home=forked.home)
    assert "BESIDE" in shown.text and CAUSE in shown.text and "what is named there has left it" in shown.err
    assert "BESIDE" not in run("search", "b.bin", home=forked.home).text


def test_what_lies_beside_says_so(run: Run, forked: Forked, tmp_path: Path) -> None:
    for moment in (format_time(forked.before.second), "mark:before-upgrade"):
        listed = run("ls", f"{ADDRESS}:/data", "--at", moment, "--json", home=forked.home)
        assert (listed.code, listed.json["beside"]) == (0, aside(forked))
        assert {entry["path"]: entry["size"] for entry in listed.json["entries"]}["/data/a.txt"] == 4
        assert forked.told in run("ls", ADDRESS, "--at", moment, home=forked.home).err
        restore = ("restore", ADDRESS, "--at", moment, "--to", tmp_path / "back", "--dry-run")
        assert run(*restore, "--json", home=forked.home).json["beside"] == aside(forked)
        assert forked.told in run(*restore, home=forked.home).text
    changes = run("diff", ADDRESS, "--from", format_time(forked.before.third), home=forked.home)
    assert changes.err.count(forked.told) == 1
    for moment in ("latest", format_time(forked.before.first)):
        listed = run("ls", ADDRESS, "--at", moment, "--json", home=forked.home)
        assert listed.code == 0 and "beside" not in listed.json
        assert "beside" not in run("cat", f"{ADDRESS}:/data/a.txt", "--at", moment, home=forked.home).err


def test_points_and_gaps_beside_can_be_listed_and_are_those_that_status_counts(run: Run, forked: Forked) -> None:
    told = run("points", ADDRESS, "--json", home=forked.home).json
    assert [point["point"] for point in told["points"]] == [str(forked.left), f"2.{forked.left.lsn + 4}"]
    assert [gap["reason"] for gap in told["gaps"]] == ["a recovery went on"]
    [branch] = told["branches"]
    assert (branch["cause"], branch["left"], branch["points"]) == (CAUSE, str(forked.left), 2)
    assert [gap["reason"] for gap in branch["gaps"]] == ["agent was not running"]
    row = run("status", "--json", home=forked.home).json["groups"][0]["sources"][0]
    assert (row["gaps"], row["gaps_beside"]) == (1, 1)
    assert " 1 (1 beside) " in run("status", home=forked.home).text

    every = run("points", ADDRESS, "--beside", "--json", home=forked.home).json
    assert every["count"] == len(every["points"]) == 4
    assert [point.get("beside") for point in every["points"]] == [None, aside(forked), aside(forked), None]
    assert [gap.get("beside") for gap in every["gaps"]] == [None, aside(forked)]
    assert every["points"][2]["at"] == format_time(forked.before.third)
    last = run("points", ADDRESS, "--beside", "--json", "--limit", "2", home=forked.home).json
    assert (last["count"], last["points"]) == (4, every["points"][-2:])

    line = f"{forked.told}: 2 points and 1 gap up to point:{branch['last']}, "
    shown = run("points", ADDRESS, home=forked.home)
    assert line in shown.err and shown.err.rstrip().endswith("--beside lists them")
    between = [format_time(at + 1) for at in (forked.before.first, forked.before.second)]
    ranged = run("points", ADDRESS, "--from", between[0], "--to", between[1], home=forked.home)
    assert "no recovery point in this range" in ranged.text
    assert "2 points (1 of what is asked for) and 1 gap up to" in ranged.err
    listed = run("points", ADDRESS, "--beside", "--from", between[0], "--to", between[1], home=forked.home)
    assert listed.text.count("point:1.") == 1 and CAUSE in listed.text
