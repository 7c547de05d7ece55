"""A drill asks drivers for the databases among what came back: on the node, over cold trees, on a host."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.life.choosing import why_not
from tests.spine.test_drills import failed, make_source
from tests.spine.test_drills_afar import ADDRESS, apply, drill, left, rows
from tests.spine.test_restore_afar import Hosts

WHOLE = "1 SQLite database is whole"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    base = tmp_path_factory.mktemp("application")
    make_source(base / "source")
    made = sqlite3.connect(base / "source" / "ledger.db")
    made.execute("create table t (a integer primary key, b text)")
    made.executemany("insert into t values (?, ?)", [(number, f"{number * 7919:0200d}") for number in range(2000)])
    made.commit()
    made.close()
    with Hosts.up(base, "ab") as hosts:
        apply(hosts)
        hosts.site.wait_protected(ADDRESS)
        yield hosts


@pytest.mark.parametrize("where", [(), ("--host", "b"), ("--on-demand",), ("--on-demand", "--host", "b")])
def test_a_database_that_came_back_is_looked_into(hosts: Hosts, where: tuple[str, ...]) -> None:
    if "--on-demand" in where and all(why_not(name, os.fsencode(hosts.base)) for name in ("pre-access", "fuse")):
        pytest.skip("nothing fills a tree on demand here")
    code, told = drill(hosts, *where, "--check", "application", "--check", "checksums")
    [row] = rows(told, "application")
    assert (code, row["passed"], row["message"], row["address"]) == (0, True, WHOLE, ADDRESS), told["checks"]
    assert rows(told, "checksums")[0]["passed"] and left(hosts) == []


def test_one_that_was_damaged_before_it_was_captured_fails_the_drill(hosts: Hosts) -> None:
    """Its bytes are as they were: checksums pass, and what they mean is wrong all the same."""
    path: Path = hosts.base / "source" / "ledger.db"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(5000))
    wanted = path.read_bytes()
    hosts.site.wait(lambda: hosts.site.run("cat", f"{ADDRESS}:{path}").stdout == wanted, 120, "the damage")
    for where in ((), ("--host", "b")):
        code, told = drill(hosts, *where, "--check", "application", "--check", "checksums")
        assert (code, failed(told)) == (1, ["application"]), told["checks"]
        assert "ledger.db: SQLite: " in rows(told, "application")[0]["message"]
