"""What a reader of some groups is shown of a journal, by every command that reads one: nothing of the other groups.

The commands run here as they do on a node, in a process that sees some groups alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bcsctl import app, opening
from engine.env.clock import SYSTEM
from engine.journal.commit import Committer
from engine.journal.open import open_local
from engine.node.audit import AuditLog
from engine.node.master_key import ensure_master_key
from engine.plan.access import EVERYTHING, Sight

from .conftest import Ran
from .remote import FINANCE, SECRET, WORDS, journal_of_two, trace

SIGHTS = {"vera": Sight(("finance*",)), "nils": Sight(("nothing-like-it",)), "rudi": Sight(("*",))}
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sight") / "home"
    journal_of_two(home)
    key = bytes.fromhex(ensure_master_key(home).read_text().strip())
    with open_local(home / "journal", key) as journal, Committer(journal, "n0") as committer:
        audit = AuditLog(committer, "n0", SYSTEM)
        audit.act("restore", "pangolin", {"address": SECRET, "target": "/okapi", "files": 3})
        audit.act("restore", "fred", {"address": FINANCE, "target": "/tmp/q3", "files": 2})
        audit.act("mark", "pangolin", {"group": "quokka", "label": "okapi"})
        audit.act("apply", "pangolin", {"sources": [FINANCE, SECRET], "commit": "okapi"})
        audit.act("batch-refused", "agent axolotl-host", {"stream": WORDS[-1], "error": "okapi"})
        audit.act("both", "pangolin", {"address": FINANCE, "group": "quokka"})
    return home


@pytest.fixture
def run(home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A command as it runs for a user."""
    monkeypatch.setenv("BCS_HOME", str(home))
    monkeypatch.setenv("BCS_SITE", "local")

    def go(user: str, *argv: str) -> Ran:
        capfd.readouterr()
        opening.limit(SIGHTS[user])
        with pytest.raises(SystemExit) as ended:
            app.main(list(argv))
        out, err = capfd.readouterr()
        return Ran(int(ended.value.code or 0), out.encode("utf-8", "surrogateescape"), err)

    yield go
    opening.limit(EVERYTHING)


def test_there_is_something_to_hide(run: Run) -> None:
    """Whoever sees everything finds every word, so the others don't miss it by a fault of the tests."""
    looks = [["history"], ["search", "*"], ["report", "recovery-audit", "--from", "-1d"], ["query", "from audit"]]
    looks += [["points", SECRET], ["query", "from streams"]]
    shown = "".join(run("rudi", *argv, "--json").text for argv in looks)
    assert [word for word in WORDS if word not in shown] == []


LOOKS = [
    ["history"],
    ["history", "--limit", "1"],
    ["search", "*"],
    ["search", "axolotl"],
    ["search", "q3"],
    ["search", "*", "--source", SECRET],
    ["points", SECRET],
    ["points", "quokka/axolotl-host/narwha"],
    ["points", "finance/sf-db1/file"],
    ["points", "q/a/n"],
    ["ls", SECRET],
    ["ls", f"{SECRET}:/srv/okapi"],
    ["ls", FINANCE, "--at", "mark:before-okapi"],
    ["diff", SECRET, "--from", "-1h"],
    ["log", f"{SECRET}:/srv/okapi/narwhal.txt"],
    ["cat", f"{SECRET}:/srv/okapi/narwhal.txt"],
    ["cat", f"{FINANCE}:/srv/okapi/narwhal.txt"],
    ["report", "recovery-audit", "--from", "-1d"],
    ["report", "recovery-audit", "--from", "-1d", "--format", "html"],
    ["report", "recovery-audit", "--from", "-1d", "--group", "quokka"],
    ["report", "recovery-audit", "--from", "-1d", "--group", "finance"],
    ["report", "nonsense"],
]


def asked(argv: list[str]) -> set[str]:
    """The words that the question itself holds: an error may repeat them."""
    text = " ".join(argv)
    return {word for word in WORDS if word in text}


@pytest.mark.parametrize("user", ("vera", "nils"))
@pytest.mark.parametrize("argv", LOOKS, ids=" ".join)
@pytest.mark.parametrize("as_json", [False, True], ids=["eye", "json"])
def test_no_command_tells(run: Run, user: str, argv: list[str], as_json: bool) -> None:
    ran = run(user, *argv, *(["--json"] if as_json else []))
    assert ran.code in (0, 4, 5), ran.text + ran.err
    assert set(trace(ran)) <= asked(argv)


@pytest.mark.parametrize(
    ("there", "nowhere"),
    [
        (["points", SECRET], ["points", "wombat/axolotl-host/narwhal"]),
        (["ls", f"{SECRET}:/srv/okapi"], ["ls", "wombat/axolotl-host/narwhal:/srv/okapi"]),
        (["search", "*", "--source", SECRET], ["search", "*", "--source", "wombat/axolotl-host/narwhal"]),
        (["report", "recovery-audit", "--group", "quokka"], ["report", "recovery-audit", "--group", "wombat"]),
        (["query", f"select * from points where address = '{SECRET}'"], ["query", "select * from points where false"]),
    ],
    ids=lambda argv: argv[0],
)
def test_what_is_hidden_and_what_is_nowhere_answer_the_same(run: Run, there: list[str], nowhere: list[str]) -> None:
    for user in ("vera", "nils"):
        left, right = run(user, *there, "--json"), run(user, *nowhere, "--json")
        assert (left.code, left.text.replace("quokka", "wombat")) == (right.code, right.text)


QUERIES = [
    "select * from events",
    "select * from streams",
    "select * from points",
    "select * from commits",
    "select * from audit",
    "select count(*), min(lsn), max(lsn), count(distinct address) from events",
    "select distinct payload from events",
    "describe events",
    "select * from events where cast(name as integer) = 1",
    "select * from events where error(name) is null",
    "select cast(payload as integer) from events where payload is not null",
    "select case when name like '%okapi%' then error(name) else 1 end from events",
    "select * from events where address is null",
    "select pack from events",
    "select cast(details as integer) from audit",
    "with streams as (select * from events) select * from streams",
    "summarize events",
    "select * from read_parquet('*')",
    "select * from parquet_metadata('events.parquet')",
    "select * from duckdb_tables()",
    "from quokka",
    "select narwhals from streams",
]


@pytest.mark.parametrize(
    ("user", "sql"), [("vera", sql) for sql in QUERIES] + [("nils", sql) for sql in QUERIES[:5]], ids=str
)
def test_no_query_tells(run: Run, user: str, sql: str) -> None:
    ran = run(user, "query", sql, "--json")
    assert ran.code in (0, 2, 4), ran.err
    assert set(trace(ran)) <= asked([sql])


def test_numbers_are_those_of_what_is_seen(run: Run) -> None:
    def rows(user: str, sql: str) -> list[list[object]]:
        found: list[list[object]] = run(user, "query", sql, "--json").json["rows"]
        return found

    everything = dict(rows("rudi", "select address, count(*) from events group by all"))  # type: ignore[arg-type]
    assert rows("vera", "select address, count(*) from events group by all") == [[FINANCE, everything[FINANCE]]]
    assert rows("nils", "select count(*) from events") == [[0]]
    assert rows("vera", "select address from streams") == [[FINANCE]]
    assert rows("vera", "select count(*) from commits") == rows("nils", "select count(*) from audit") == [[0]]
    assert rows("vera", "select who, what from audit") == [["fred", "restore"]]
    assert rows("vera", "select distinct pack from events") == [[None]]
    assert len(run("vera", "history", "--json").json["applied"]) == 1
    assert run("nils", "history", "--json").json["applied"] == []
    report = run("vera", "report", "recovery-audit", "--from", "-1d", "--json").json
    assert [source["address"] for source in report["sources"]] == [FINANCE]
    assert [row["who"] for row in report["restores"]] == ["fred"]
    assert report["refusals"] == report["verifications"] == []
    assert run("nils", "report", "recovery-audit", "--from", "-1d", "--json").json["sources"] == []
