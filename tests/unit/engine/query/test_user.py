"""Users' SQL: what the views answer, and that nothing else can be done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.model.errors import Damaged, Failed, Refused, UsageError
from engine.model.events import Dentry, Inode, Mark, Record
from engine.model.ids import Address
from engine.query.user import run_sql

from .plain_journal import ADDRESS, STREAM, PlainJournal


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> PlainJournal:
    journal = PlainJournal(tmp_path_factory.mktemp("journal") / "with [odd] *names?")
    journal.add_stream()
    journal.commit([Inode(1, 10, 0, "d", 0o755, 0, 0, 0, 1), Mark(2, 20, "baseline", "", "quiet")])
    journal.commit([Dentry(3, 30, 0, b"a\xff", 1), Dentry(4, 40, 0, b"b", 1), Mark(5, 50, "pass", "", "fuzzy")])
    audit = journal.add_stream(Address("_audit", "n1", "acts"))
    journal.commit([Record(1, 60, "apply", '{"what": "apply", "who": "root", "details": {"n": 1}}')], stream=audit)
    return journal


def ask(journal: PlainJournal, sql: str) -> list[tuple[object, ...]]:
    return run_sql(journal, sql)[1]


def test_every_view_answers(journal: PlainJournal) -> None:
    assert run_sql(journal, "select class, count(*) from points group by all order by all") == (
        ["class", "count_star()"],
        [("fuzzy", 1), ("quiet", 1)],
    )
    names = ask(journal, "select lsn, name, name_bytes, kind, at from events where kind = 'dentry' order by lsn")
    at = datetime.fromtimestamp(0, UTC)
    assert names == [
        (3, "a\\xFF", b"a\xff", "dentry", at.replace(microsecond=30)),
        (4, "b", b"b", "dentry", at.replace(microsecond=40)),
    ]
    assert ask(journal, "select address, stream from streams where group_name = 'finance'") == [(str(ADDRESS), STREAM)]
    assert ask(journal, "select who, what, details, node from audit") == [("root", "apply", '{"n":1}', "n1")]
    assert ask(journal, "select count(*), sum(seq_last) from commits") == [(3, 6)]


def test_ordinary_sql_works(journal: PlainJournal) -> None:
    query = "with p as (select *, row_number() over (order by lsn) n from points) select sum(n), max(point) from p"
    assert ask(journal, query) == [(3, "1.5")]
    assert ask(journal, "select 1 as x, 2 as x from range(2)") == [(1, 2), (1, 2)]
    assert ask(journal, "from points select lsn where lsn > 99") == []
    assert len(ask(journal, "describe points")) == 9


def test_at_is_a_column_like_any_other(journal: PlainJournal) -> None:
    query = """select at, p.at, 'at', at AT TIME ZONE 'UTC' as at -- at
        from points p where at > '1970-01-01' order by at desc"""
    found = ask(journal, query)
    assert [row[2] for row in found] == ["at", "at"]
    assert found[0][0] == found[0][1] and found[0][0] > found[1][0]  # type: ignore[operator]


FORBIDDEN = [
    "copy points to '/tmp/forbidden.csv'",
    "copy (select 1) to '/tmp/forbidden.csv'",
    "attach '/tmp/forbidden.db'",
    "install httpfs",
    "load httpfs",
    "set memory_limit = '10GB'",
    "pragma database_list",
    "create table x as select 1",
    "drop view events",
    "insert into points select * from points",
    "export database '/tmp/forbidden'",
    "call pragma_version()",
    "explain analyze select 1",
    "select 1; select 2",
    "",
    "select * from read_csv('/etc/passwd')",
    "select * from read_text('/etc/passwd')",
    "select * from read_blob('/etc/passwd')",
    "select * from read_parquet('/etc/passwd')",
    "select * from glob('/etc/*')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from query('select 1')",
    "select * from query_table('points')",
    "select * from duckdb_settings()",
    "select * from information_schema.tables",
    "select * from main.points",
    "select * from lent",
    "from '/etc/passwd'",
    "from '/etc/hosts.csv'",
    "select * from points where class in (from '/etc/hosts.csv')",
    "with \"/etc/hosts.csv\" as (select 1) select * from points, (from '/etc/hosts.csv')",
    "select (select count(*) from read_csv('/etc/passwd'))",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_nothing_else_is_allowed(journal: PlainJournal, sql: str) -> None:
    with pytest.raises(Refused):
        ask(journal, sql)
    assert not list(Path("/tmp").glob("forbidden*"))


@pytest.mark.parametrize("sql", ["selec 1", "select nothing from points", "select 1 / 'x'", "select * from points("])
def test_wrong_sql_is_a_usage_error(journal: PlainJournal, sql: str) -> None:
    with pytest.raises(UsageError):
        ask(journal, sql)


def test_rows_time_and_memory_are_bounded(journal: PlainJournal) -> None:
    with pytest.raises(UsageError, match="more than 10 rows"):
        run_sql(journal, "select * from range(11)", rows_max=10)
    with pytest.raises(Failed, match="took longer than"):
        run_sql(
            journal,
            "select count(*) from range(1000000) a, range(1000000) b where a.range % 7 = b.range % 11",
            seconds_max=0.5,
        )
    with pytest.raises(Failed, match="memory"):
        run_sql(
            journal,
            "select count(*) from (select distinct i, md5(i::varchar) from range(20000000) t(i))",
            memory="50MB",
        )


def test_a_journal_with_losses_is_not_counted(tmp_path: Path) -> None:
    journal = PlainJournal(tmp_path)
    journal.add_stream()
    first = journal.commit([Inode(1, 10, 0, "d", 0o755, 0, 0, 0, 1)])
    journal.commit([Mark(2, 20, "baseline", "", "quiet")])
    journal.store.delete(first)
    with pytest.raises(Damaged, match="commits 1 to 1"):
        ask(journal, "select count(*) from events")
