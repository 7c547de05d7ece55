"""From a journal to a report's structure: fill the facts, run the report's queries in order, arrange the answers.

The structure is what `--format json` prints; HTML and Markdown show it and add nothing. Fields are additive: a field,
once published, keeps its name and meaning (docs/reports.md).
"""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import duckdb

from engine.env.own_directory import OwnDirectory
from engine.model.errors import NothingThere, UsageError
from engine.model.ids import Position
from engine.model.times import SECOND, format_time
from engine.query.session import Session
from reports import answer
from reports.catalog import REPORTS, Report, purpose, query
from reports.facts import Facts, gather
from reports.strip import Span, coarse
from reports.words import STATES, iso, seconds

FORMAT = 1
GRACE = 45 * SECOND
"""How long word of a source may be on its way: an idle node writes watermarks each 30 seconds."""

OUTPUT_LINES, CHECKS_SHOWN = 10, 20
"""Of each drill so many failed checks are shown, and so many of the last lines of what each of them wrote."""

BANDS_MAX = 2000
"""A timeline of more bands is made coarser."""

Row = dict[str, Any]


def build(name: str, journal: Any, *, from_at: int, to_at: int, group: str | None = None, now: int) -> dict[str, Any]:
    """The structure of report `name` over [from_at, to_at), microseconds; what lies after `now` is cut off.

    NothingThere for an unknown report or group, UsageError for a period that ends before it begins.
    """
    report = find(name)
    if from_at >= min(to_at, now):
        raise UsageError(
            f"the period from {format_time(from_at)} to {format_time(to_at)} holds no moment that has passed",
            hint="give --from a time before --to, and before now",
        )
    with OwnDirectory("report") as spill:
        with Session(journal) as session:
            facts = gather(
                journal,
                session,
                from_at=from_at,
                to_at=min(to_at, now),
                now=now,
                grace=GRACE,
                group=group,
                spill=str(spill),
            )
        try:
            answers = run(facts.connection, report)
        finally:
            facts.connection.close()
    head = {
        "report": name,
        "format": FORMAT,
        "title": report.title,
        "description": report.description,
        "generated_at": iso(now),
        "journal": {"id": journal.id, "created_at": iso(facts.journal_from)},
        "period": {
            "from": iso(from_at),
            "to": iso(min(to_at, now)),
            "to_asked": iso(to_at),
            "seconds": seconds(min(to_at, now) - from_at),
        },
        "group": group,
    }
    return _arranged(head, answers, facts, report)


def find(name: str) -> Report:
    """The report of that name. NothingThere names those there are."""
    if name not in REPORTS:
        raise NothingThere(f"there is no report '{name}'", hint=f"there is {', '.join(REPORTS)}")
    return REPORTS[name]


def versions() -> dict[str, str]:
    """What wrote the report."""
    return {"bcsctl": version("bcsctl"), "duckdb": duckdb.__version__, "python": platform.python_version()}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the queries gave: how many rows each, and the rows themselves, of column to value, except of steps."""

    rows: dict[str, list[Row]]
    counts: dict[str, int]


def run(connection: duckdb.DuckDBPyConnection, report: Report) -> Answers:
    """Run a report's queries; each becomes a table for those after it."""
    answers = Answers({}, {})
    for name in report.queries:
        connection.execute(f"CREATE TABLE {name} AS\n{query(name)}")
        [(answers.counts[name],)] = connection.execute(f"SELECT count(*) FROM {name}").fetchall()
        if name not in report.steps:
            found = connection.execute(f"SELECT * FROM {name}")
            columns = [column[0] for column in found.description or ()]
            answers.rows[name] = [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
    return answers


def _arranged(head: dict[str, Any], answers: Answers, facts: Facts, report: Report) -> dict[str, Any]:
    rows = answers.rows
    sources = _sources(rows)
    body: dict[str, Any] = {
        **head,
        "answer": answer.answer(sources, rows["proofs"]),
        "sources": sources,
        "restores": [_restore(row) for row in rows["restores"]],
        "refusals": [_with_times(row, "first_at", "last_at") for row in rows["refusals"]],
        "verifications": [
            {**_with_times(row, "at"), "details": json.loads(row["details"])} for row in rows["verifications"]
        ],
        "drills": [_drill(row) for row in rows["drills"]],
        "proofs": [_proof(row) for row in rows["proofs"]],
    }
    body["limits"] = answer.limits(body, facts.unreadable)
    body["appendix"] = {
        "queries": [{"name": name, "purpose": purpose(name), "rows": answers.counts[name]} for name in report.queries],
        "versions": versions(),
        "grace_seconds": seconds(GRACE),
    }
    return body


def _sources(rows: Mapping[str, list[Row]]) -> list[dict[str, Any]]:
    by = {name: _by_stream(found) for name, found in rows.items()}
    there = {row["stream"]: row["in_journal"] for row in rows["sources"]}
    return [_source(row, there[row["stream"]], by) for row in rows["verdicts"]]


def _by_stream(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if "stream" in row:
            found[row["stream"]].append(row)
    return found


def _source(row: Row, in_journal: bool, by: Mapping[str, Mapping[str, list[Row]]]) -> dict[str, Any]:
    stream = row["stream"]

    def mine(name: str) -> list[Row]:
        return by[name].get(stream, [])

    policies = [_policy(one) for one in mine("policy_windows")]
    outer = {one["which"]: _point(one) for one in mine("points_outer")}
    bands = [(one["from_at"], one["to_at"], one["state"]) for one in mine("timeline")]
    source: dict[str, Any] = {
        "address": row["address"],
        "stream": stream,
        "in_journal": in_journal,
        "verdict": row["verdict"],
        "notes": [],
        "policies": policies,
        "rpo": _rpo(mine("rpo"), policies),
        "state_seconds": _state_seconds(bands),
        "points": {
            "count": sum(one["points"] for one in mine("points_by_class")),
            "classes": [
                {"class": one["point_class"], "points": one["points"], **_first_last(one)}
                for one in mine("points_by_class")
            ],
            "first_ever": outer.get("first"),
            "newest": outer.get("newest"),
        },
        "gaps": [
            {
                "from": iso(one["from_at"]),
                "to": iso(one["to_at"]),
                "closed_at": iso(one["closed_at"]),
                "seconds": seconds(one["to_at"] - one["from_at"]),
                "reason": one["reason"] or "",
            }
            for one in mine("gaps")
        ],
        "baseline": next(
            ({"at": iso(one["at"]), "files": one["files"], "bytes": one["bytes"]} for one in mine("baselines")), None
        ),
        "timeline": [{"from": iso(begin), "to": iso(end), "state": state} for begin, end, state in _shown(bands)],
        "timeline_exact": len(bands) <= BANDS_MAX,
    }
    source["notes"] = answer.notes(source)
    return source


def _policy(row: Row) -> dict[str, Any]:
    return {
        "number": row["number"],
        "from": iso(row["from_at"]),
        "to": iso(row["to_at"]),
        "applied_at": iso(row["applied_at"]),
        "applied_by": row["applied_by"] or "",
        "commit": row["git_commit"],
        "dirty": bool(row["dirty"]),
        "rpo_seconds": seconds(row["rpo"]),
        "retention": json.loads(row["retention"]),
    }


def _rpo(rows: Sequence[Row], policies: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """None while there was no judged moment with a point."""
    bounds = {row["bound"]: row for row in rows}
    if not bounds:
        return None
    proved, possible = bounds["proved"], bounds["possible"]
    return {
        "objective_seconds": policies[-1]["rpo_seconds"],
        "judged_seconds": seconds(proved["judged"]),
        "worst_seconds": seconds(proved["worst"]),
        "p99_seconds": seconds(proved["p99"]),
        "median_seconds": seconds(proved["median"]),
        "over_objective_seconds": seconds(proved["over"]),
        "worst_seconds_at_least": seconds(possible["worst"]),
        "p99_seconds_at_least": seconds(possible["p99"]),
        "median_seconds_at_least": seconds(possible["median"]),
        "over_objective_seconds_at_least": seconds(possible["over"]),
    }


def _shown(bands: Sequence[Span]) -> Sequence[Span]:
    return bands if len(bands) <= BANDS_MAX else coarse(bands, bands[0][0], bands[-1][1])


def _state_seconds(bands: Sequence[Span]) -> dict[str, float]:
    lasting = dict.fromkeys(STATES, 0)
    for begin, end, state in bands:
        lasting[state] += end - begin
    return {state: lasting[state] / SECOND for state in STATES}


def _first_last(row: Row) -> dict[str, str | None]:
    return {"first_at": iso(row["first_at"]), "last_at": iso(row["last_at"])}


def _point(row: Row) -> dict[str, Any]:
    return {"point": str(Position(row["epoch"], row["lsn"])), "at": iso(row["at"]), "class": row["point_class"]}


def _proof(row: Row) -> dict[str, Any]:
    """What the drills made of a group."""
    return {
        "group_name": row["group_name"],
        "state": row["state"],
        "reason": row["reason"],
        "every_seconds": seconds(row["every"]),
        "made": row["made"],
        "passed": row["passed"],
        "failed": row["failed"],
        "lasting_seconds": {
            state: seconds(row[f"lasting_{state}"]) for state in ("passed", "failed", "stale", "void", "never")
        },
    }


def _drill(row: Row) -> Row:
    """A drill, with the end of what its failed checks wrote."""
    failed = [
        {
            **{name: str(check.get(name) or "") for name in ("name", "address", "command", "message")},
            "output": "\n".join(str(check.get("output") or "").splitlines()[-OUTPUT_LINES:]),
        }
        for check in json.loads(row["failed_checks"])[:CHECKS_SHOWN]
    ]
    return {**_with_times(row, "at"), "failed_checks": failed}


def _restore(row: Row) -> Row:
    return _with_times(row, "made_at")


def _with_times(row: Row, *names: str) -> Row:
    return {**row, **{name: iso(row[name]) for name in names}}
