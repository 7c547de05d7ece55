"""SQL texts from the *.sql files beside this module, and values that can't be parameters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def text(name: str) -> str:
    """The query in NAME.sql. `{events}` and the like in it are relations, filled in by `fill`."""
    return files(__package__).joinpath(f"{name}.sql").read_text("utf-8")


def fill(name: str, **relations: str) -> str:
    """NAME.sql with its relations in place. The relations are our own SQL, never a user's words."""
    query = text(name)
    for place, relation in relations.items():
        query = query.replace("{" + place + "}", relation)
    return query


def quoted(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"


def parquet(paths: Iterable[Path]) -> str:
    """The rows of these files as a table function. There has to be one at least."""
    # DuckDB takes every name for a pattern: a class of one character stands for itself.
    names = ("".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path)) for path in paths)
    return f"read_parquet([{', '.join(map(quoted, names))}], union_by_name = false)"
