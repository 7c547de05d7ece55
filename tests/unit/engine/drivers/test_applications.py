"""Databases in a tree are found, and each is asked by its own means whether it is whole; the tree stays as it is."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.drivers import asking
from engine.drivers.applications import POSTGRESQL, SQLITE, find, told
from tests.fidelity.walker import differences, walk
from tests.ondemand.cluster import POSSIBLE, Cluster


def make_base(path: Path, rows: int = 3000) -> None:
    base = sqlite3.connect(path)
    base.execute("create table t (a integer primary key, b text)")
    base.executemany("insert into t values (?, ?)", [(number, f"{number * 7919:0200d}") for number in range(rows)])
    base.execute("create index i on t (b)")
    base.commit()
    base.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "sub dir").mkdir(parents=True)
    make_base(made / "sub dir" / "ledger #1.db")
    (made / "plain").write_text("SQLite, but no database")
    (made / "link").symlink_to("sub dir/ledger #1.db")
    return made


def said(tree: Path, tmp_path: Path) -> asking.Said:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    before = walk(tree)
    found = asking.ask(tree, scratch)
    assert differences(before, walk(tree)) == [] and os.listdir(scratch) == []
    return found


def test_a_database_is_found_and_whole(tree: Path, tmp_path: Path) -> None:
    assert [(each.kind, Path(each.path).name) for each in find(str(tree))] == [(SQLITE, "ledger #1.db")]
    assert said(tree, tmp_path) == asking.Said(True, "1 SQLite database is whole")


def test_where_there_is_none_nothing_was_asked(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("x")
    assert said(tmp_path / "tree", tmp_path) == asking.Said(None, asking.NOTHING)


def test_one_that_is_damaged_is_named(tree: Path, tmp_path: Path) -> None:
    make_base(tree / "other.db")
    path = tree / "sub dir" / "ledger #1.db"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 4000] = os.urandom(4000)
    path.write_bytes(whole)
    found = said(tree, tmp_path)
    assert found.passed is False and found.text.startswith("sub dir/ledger #1.db: SQLite: ")


def test_what_stands_in_a_log_beside_it_counts(tree: Path, tmp_path: Path) -> None:
    """As a copy of a database in use has it: the tree's own files are not touched by looking."""
    path = tree / "in use.db"
    base = sqlite3.connect(path)
    base.execute("pragma journal_mode=wal")
    base.execute("create table t (a)")
    base.execute("insert into t values (1)")
    base.commit()
    copies = {each: Path(f"{path}{each}").read_bytes() for each in ("", "-wal")}
    base.close()
    for each, content in copies.items():
        Path(f"{path}{each}").write_bytes(content)
    assert len(copies["-wal"]) > 0
    assert said(tree, tmp_path) == asking.Said(True, "2 SQLite databases are whole")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if not POSSIBLE:
        pytest.skip("PostgreSQL is not installed, or this is not root")
    for each in (tmp_path, *tmp_path.parents):
        if each.stat().st_uid == os.geteuid() and not each.stat().st_mode & 0o001:
            each.chmod(0o711)
    made = Cluster(tmp_path / "tree" / "data")
    try:
        made.make(1)
        yield made
    finally:
        made.close()


def test_a_cluster_by_its_checksums(cluster: Cluster, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    cluster.stop()
    assert [each.kind for each in find(str(tree))] == [POSTGRESQL]
    assert said(tree, tmp_path) == asking.Said(True, "1 PostgreSQL database is whole")
    largest = max(
        (path for path in (tree / "data" / "base").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[5000] ^= 1
    largest.write_bytes(content)
    found = said(tree, tmp_path)
    assert found.passed is False and found.text.startswith("data: PostgreSQL: ")
    assert told(str(tree), tmp_path / "scratch")["wrong_count"] == 1
