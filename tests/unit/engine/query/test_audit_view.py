"""The audit as SQL sees it: older records with names that are no Unicode are there like any other."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest

from engine.query import sql


def records(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    connection.execute(
        'CREATE TABLE events ("at" BIGINT, committed_at BIGINT, address VARCHAR, kind VARCHAR, payload VARCHAR)'
    )
    for at, path in enumerate(paths):
        payload = json.dumps({"what": "restore", "who": "me", "details": {"path": path}})
        connection.execute("INSERT INTO events VALUES ($1, $1, '_audit/n1/acts', 'record', $2)", [at, payload])


PATHS = {
    "plain": "plain",
    "😀": "😀",
    "na\udcffme": "name",
    "\\udcff": "\\udcff",
    "\\\udcff": "\\",
    "😀\udc80\ud83d": "😀",
}
"""Paths in records, and as they are told."""


@pytest.mark.parametrize("path", PATHS)
def test_an_audit_with_any_name_can_be_queried(path: str) -> None:
    with duckdb.connect() as connection:
        records(connection, [path])
        connection.execute(sql.text("user_audit"))
        rows: list[tuple[Any, ...]] = connection.execute("SELECT node, what, who, details FROM audit").fetchall()
    assert [row[:3] for row in rows] == [("n1", "restore", "me")]
    assert json.loads(rows[0][3]) == {"path": PATHS[path]}
