"""What a user's SQL may be: one SELECT over our views, judged by DuckDB's own parse tree, not by its text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import duckdb

from engine.model.errors import Refused, UsageError

VIEWS = ("events", "points", "streams", "commits", "audit")
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest"})
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
SQL_CHARS_MAX = 100_000


def checked(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query to run. UsageError for what does not parse, Refused for anything but one SELECT over the views."""
    if len(sql) > SQL_CHARS_MAX:
        raise UsageError(f"a query of {len(sql)} characters is too long", hint=f"at most {SQL_CHARS_MAX}")
    sql = with_column_at(sql)
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(_one_line(error), hint=f"one SELECT over {', '.join(VIEWS)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(str(each.type).removeprefix("StatementType.") for each in statements) or "nothing"
        raise _refused(f"a query is one SELECT, not {kinds}")
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise _refused(f"a query is one SELECT: {tree['error_message']}")
    _check_tree(list(_nodes(tree)))
    return sql


def with_column_at(sql: str) -> str:
    """The same query with the word `at` in quotes, so that it may name our columns: DuckDB keeps it for itself."""
    data = sql.encode("utf-8", "replace")
    tokens = [(start, kind) for start, kind in duckdb.tokenize(data.decode())]
    parts: list[bytes] = []
    done = 0
    for (start, kind), (following, _) in pairwise([*tokens, (len(data), None)]):
        word, after = data[start:following].strip().lower(), data[following : following + 4].lower()
        if kind == duckdb.token_type.keyword and word == b"at" and after != b"time":
            parts += [data[done:start], b'"at"']
            done = start + 2
    return b"".join([*parts, data[done:]]).decode()


def _check_tree(nodes: list[dict[str, Any]]) -> None:
    ours = set(VIEWS)
    for node in nodes:
        for entry in (node.get("cte_map") or {}).get("map", ()):
            if not _PLAIN.fullmatch(entry["key"]):  # or it might stand for a file elsewhere in the query
                raise _refused(f"'{entry['key']}' is no name for a common table expression")
            ours.add(entry["key"].lower())
    for node in nodes:
        kind = node.get("type")
        if kind == "BASE_TABLE":
            name = node["table_name"]
            if node["schema_name"] or node["catalog_name"] or name.lower() not in ours:
                raise _refused(f"'{name}' is no view")
        elif kind == "TABLE_FUNCTION":
            name = str((node.get("function") or {}).get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise _refused(f"the table function '{name}' may not be used")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a parse tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _refused(message: str) -> Refused:
    return Refused(message, hint=f"one SELECT over {', '.join(VIEWS)}, without files and other statements")


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
