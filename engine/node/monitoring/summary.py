"""The answer before the tables: are all sources protected, and if not, which ones and why. Pure.

One sentence for the top of a status, the body of a mail, the title of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.model.counts import counted
from engine.model.times import format_time, parse_time
from engine.node.monitoring.status import CONDITIONS, SAFE

NAMED_MAX = 3
"""So many sources are named in the answer; the tables have the rest."""

WORDS = {
    "refused": "its host is refused",
    "never-seen": "its agent never came",
    "silent": "its agent is silent",
    "failing": "its agent fails",
    "lagging": "its data lags",
    "unprotected": "nothing was captured yet",
    "baseline": "its baseline is being taken",
    "catching-up": "it is catching up",
    "unknown": "nobody knows how its agent is",
}


def summary(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{sources, protected, hosts, conditions{word: count}} of a status."""
    rows = _rows(groups)
    found: dict[str, int] = {}
    for row in rows:
        found[row["condition"]] = found.get(row["condition"], 0) + 1
    return {
        "sources": len(rows),
        "protected": sum(row["protected"] in SAFE for row in rows),
        "hosts": len({host_of(row) for row in rows}),
        "conditions": found,
    }


def answer(groups: Sequence[Mapping[str, Any]], shown: Callable[[int], str] = format_time) -> str:
    """One sentence. `shown` writes a time, microseconds, for whoever reads it."""
    rows = _rows(groups)
    if not rows:
        return "Nothing is protected yet"
    hosts = len({host_of(row) for row in rows})
    bad = sorted(
        (row for row in rows if row["protected"] not in SAFE),
        key=lambda row: (CONDITIONS.index(row["condition"]), row["address"]),
    )
    if not bad:
        one = len(rows) == 1
        head = "The only source is" if one else f"All {len(rows):,} sources on {counted(hosts, 'host')} are"
        return f"{head} protected{_unproven(rows)}"
    whole = "the only source" if len(rows) == 1 else f"{len(rows):,} sources"
    if all(row["condition"] == "unknown" for row in rows):
        return f"Nobody knows whether {whole} {_are(rows)} protected: the node is not running"
    head = f"{'The only source' if len(rows) == 1 else f'{len(bad):,} of {whole}'} {_are(bad)} not protected"
    named = [f"{row['address']} ({_why(row, shown)})" for row in bad[:NAMED_MAX]]
    if len(bad) > NAMED_MAX:
        named.append(f"and {len(bad) - NAMED_MAX:,} more")
    return f"{head}: {', '.join(named)}"


def _unproven(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which groups no drill shows to be recoverable, and why; empty where there is none."""
    reasons = {str(row["address"]).split("/")[0]: row.get("drill_reason") for row in rows if _is_unproven(row)}
    if not reasons:
        return ""
    named = [f"{group} ({reason})" if reason else group for group, reason in list(reasons.items())[:NAMED_MAX]]
    if len(reasons) > NAMED_MAX:
        named.append(f"and {len(reasons) - NAMED_MAX:,} more")
    return f", but not proven by a drill: {', '.join(named)}"


def _is_unproven(row: Mapping[str, Any]) -> bool:
    return bool(row["protected"] == "unproven")


def host_of(row: Mapping[str, Any]) -> str:
    return str(row["address"]).split("/")[1]


def _are(rows: Sequence[object]) -> str:
    return "is" if len(rows) == 1 else "are"


def _why(row: Mapping[str, Any], shown: Callable[[int], str]) -> str:
    since = f" since {shown(parse_time(row['since'], 0))}" if row.get("since") else ""
    return WORDS.get(str(row["condition"]), str(row["condition"])) + since


def _rows(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for group in groups for row in group["sources"]]
