"""What an agent says of a drill on its host, read with care: it is another machine's word, kept as evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.fill.base import MODULES
from engine.recovery.drill.evidence import MESSAGE_CHARS, OUTPUT_CHARS, Row

OPEN, DONE, FAILED, SILENT, CANCELLED = "open", "done", "failed", "silent", "cancelled"
"""How a drill on a host stands, as its node has it."""
ROWS_MAX = 10_000
NAME_CHARS = 40


def rows_of(answer: Mapping[str, Any], addresses: Sequence[str]) -> list[Row]:
    """The checks that the host made; `addresses` of its sources, in the order in which it got them."""
    rows = answer.get("checks")
    found = [_row(each, addresses) for each in (rows if isinstance(rows, list) else [])[:ROWS_MAX]]
    return [row for row in found if row is not None]


def counts_of(answer: Mapping[str, Any]) -> dict[int, tuple[int, int, int, float]]:
    """(files, names, bytes, seconds) of each source that came back, by its number."""
    rows = answer.get("sources")
    found = {}
    for each in rows if isinstance(rows, list) else []:
        if isinstance(each, dict) and isinstance(each.get("source"), int):
            files, names, count = (_whole(each.get(name)) for name in ("files", "names", "bytes"))
            found[each["source"]] = (files, names, count, _seconds(each.get("seconds")))
    return found


def mechanisms_of(answer: Mapping[str, Any]) -> list[str]:
    """By what trees on demand were filled."""
    named = answer.get("mechanisms")
    return sorted({each for each in named if each in MODULES}) if isinstance(named, list) else []


def _row(told: object, addresses: Sequence[str]) -> Row | None:
    if not isinstance(told, dict) or told.get("passed") not in (True, False, None):
        return None
    source = told.get("source")
    address = addresses[source] if isinstance(source, int) and 0 <= source < len(addresses) else ""
    return Row(
        str(told.get("name"))[:NAME_CHARS],
        told.get("passed"),
        str(told.get("message") or "")[:MESSAGE_CHARS],
        _seconds(told.get("seconds")),
        address,
        str(told.get("command") or "")[:MESSAGE_CHARS],
        str(told.get("output") or "")[-OUTPUT_CHARS:],
        told.get("differs") is True,
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62 else 0


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else 0.0
