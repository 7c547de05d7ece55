"""What a journal knows that reports need, as tables of a DuckDB connection of their own (queries/_facts.sql).

Reads policies, footers, marks and records; changes nothing. What can't be read is not passed over: it is handed
back as a sentence for the report's limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from engine.format.footer import Footer, StreamFooter
from engine.journal import control, documents
from engine.model.errors import Damaged, NothingThere, UsageError
from engine.model.events import BASELINE
from engine.model.ids import Position
from engine.model.lineage import Epoch, lineage
from engine.model.times import parse_duration, parse_time
from engine.plan.drills import ENDED
from engine.query import asof, sql
from engine.query.seen import audit_streams, only_seen
from engine.query.session import Session
from engine.query.streams import streams
from reports.catalog import query
from reports.proof import held_policies, results_of, spans

Row = Sequence[Any]
_FOREVER = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Facts:
    """The filled tables, when the journal was made (microseconds), and what could not be read, in sentences."""

    connection: duckdb.DuckDBPyConnection
    journal_from: int
    unreadable: list[str] = field(default_factory=list)


def gather(
    journal: Any, session: Session, *, from_at: int, to_at: int, now: int, grace: int, group: str | None, spill: str
) -> Facts:
    """Fill the tables from an open journal. All times and durations in microseconds; `spill` is as of `connect`.

    NothingThere for a group that neither a policy nor a stream has.
    """
    connection = connect(spill)
    facts = Facts(connection, _journal_from(journal))
    known = streams(journal)
    _insert(facts, "period", [(from_at, to_at, now, facts.journal_from, grace, group)])
    _insert(facts, "streams", [(one.id, str(one.address), one.created_at) for one in known.values()])
    if journal.seen:  # what the audit says of those streams is known too
        _insert(facts, "streams", [(stream, str(address), 0) for stream, address in audit_streams(journal).items()])
    written = [one for one in known.values() if one.epoch]
    _insert(facts, "spans", [(one.id, *span) for one in written for span in _spans(one.epochs)])
    _policies(journal, facts)
    session.reading(lambda: _segments(session, facts))
    _insert(facts, "baseline_sizes", _baselines(session, facts))
    _proofs(journal, facts, from_at, to_at, group)
    _damage(session, facts)
    if group is not None:
        _refuse_unknown(facts, group)
    return facts


def connect(spill: str) -> duckdb.DuckDBPyConnection:
    """An empty database for a report's tables; what exceeds its memory goes to the directory `spill`."""
    connection = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "1GB", "temp_directory": spill})
    # It takes a few thousand rows for few, and then compares each with each.
    connection.execute("SET asof_loop_join_threshold = 0")
    connection.execute(query("_facts"))
    return connection


def _insert(facts: Facts, table: str, rows: Iterable[Row]) -> None:
    listed = list(rows)
    if listed:
        columns = [pa.array(column) for column in zip(*listed, strict=True)]
        facts.connection.register("rows_made", pa.table(columns, names=[f"c{index}" for index in range(len(columns))]))
        facts.connection.execute(f"INSERT INTO {table} SELECT * FROM rows_made")
        facts.connection.unregister("rows_made")


def _journal_from(journal: Any) -> int:
    return int(documents.get(journal.store, "bcs.json")["created_at"])


def _spans(epochs: Mapping[int, Epoch]) -> Iterator[tuple[int, int, int, int]]:
    """(epoch, first LSN, last LSN, until when they were the stream's history) of all that was written, once each."""
    kept = {number: {span.epoch: span.lsn_last for span in lineage(epochs, number)} for number in sorted(epochs)}
    for number, epoch in sorted(epochs.items()):
        first, last = epoch.parent.lsn + 1 if epoch.parent else 1, _FOREVER
        for later in (each for each in kept if each > number):
            end = kept[later].get(number, first - 1)
            if end is not None and end < last:
                yield number, end + 1, last, epochs[later].opened_at
                last = end
        yield number, first, last, _FOREVER


def _policies(journal: Any, facts: Facts) -> None:
    """Every applied policy, with the objective and retention of each of its sources, of what may be known."""
    before: Any = {}
    for number in control.numbers(journal.store, control.POLICIES):
        try:
            value = control.read(journal.store, control.POLICIES, number)
            if journal.seen:
                value = journal.seen.policy(value)
                if value["sources"] == before:
                    continue
                before = value["sources"]
            applied_at = _time(value["applied_at"])
            sources = list(_policy_sources(number, value["sources"]))
        except (Damaged, UsageError, KeyError, TypeError, ValueError) as error:
            facts.unreadable.append(
                f"Applied policy {number} can't be read ({error}): which objectives it held is not known."
            )
            continue
        row = (number, applied_at, value.get("by"), value.get("commit"), value.get("dirty"), value.get("message"))
        _insert(facts, "policies", [row])
        _insert(facts, "policy_sources", sources)


def _policy_sources(number: int, sources: Any) -> Iterator[Row]:
    named = sources.items() if isinstance(sources, dict) else ((one["address"], one) for one in sources)
    for address, source in named:
        retention = json.dumps(source.get("retention"))
        yield number, source["stream"], address, parse_duration(source["rpo"]), retention


def _time(value: Any) -> int:
    return value if isinstance(value, int) else parse_time(value, 0)


def _segments(session: Session, facts: Facts) -> None:
    """Marks, records and watermarks of all segments, of what may be known. May be run again when segments were merged
    meanwhile."""
    for table in ("marks", "records", "watermarks", "forgotten"):
        facts.connection.execute(f"DELETE FROM {table}")
    keys = sorted(session.held.footers)
    footers = [session.held.footers[key] for key in keys]
    _insert(facts, "watermarks", _watermarks(session, footers))
    _insert(facts, "forgotten", _forgotten(session, footers))
    if not keys:
        return
    relation = sql.parquet([session.journal.files.path(key) for key in keys])
    rows = session.table(query("_marks").replace("{segments}", relation))
    if session.journal.seen:
        rows = only_seen(rows, session.journal.seen, audit_streams(session.journal))
    facts.connection.register("rows_read", rows)
    facts.connection.execute(
        'INSERT INTO marks SELECT stream, epoch, lsn, "at", committed_at, mark, label, point_class, gap_from '
        "FROM rows_read WHERE kind = 4"
    )
    facts.connection.execute(
        'INSERT INTO records SELECT stream, epoch, lsn, "at", committed_at, mark, payload FROM rows_read WHERE kind = 5'
    )
    facts.connection.unregister("rows_read")


def _of(session: Session, footer: Footer) -> Iterator[tuple[str, StreamFooter]]:
    """The streams of a footer that may be known of."""
    seen = session.journal.seen
    return ((stream, each) for stream, each in footer.streams.items() if seen is None or seen.stream(stream))


def _watermarks(session: Session, footers: Iterable[Footer]) -> Iterator[Row]:
    for footer in footers:
        for stream, each in _of(session, footer):
            kept = {through_at for _, through_at in each.watermarks}
            yield from ((stream, through_at) for through_at in sorted(kept | {each.through_at}) if through_at)


def _forgotten(session: Session, footers: Iterable[Footer]) -> Iterator[Row]:
    for footer in footers:
        for stream, each in _of(session, footer):
            if each.lost_microseconds:
                yield stream, footer.committed_at_first, footer.committed_at_last, each.lost_microseconds


def _baselines(session: Session, facts: Facts) -> Iterator[Row]:
    """The size of each stream's first baseline, where all events up to its mark are still there."""
    found = facts.connection.execute(
        "SELECT marks.stream, arg_min(marks.epoch, lsn), min(lsn) FROM marks JOIN spans ON spans.stream = marks.stream "
        'AND spans.epoch = marks.epoch AND lsn BETWEEN lsn_first AND lsn_last AND marks."at" < until_at '
        "WHERE mark = ? GROUP BY marks.stream",
        [BASELINE],
    ).fetchall()
    for stream, epoch, lsn in found:
        events = asof.whole_line(session, stream, Position(epoch, lsn))
        [(count, files, size)] = session.rows(query("_baseline_size").replace("{events}", events))
        if count == lsn:
            yield stream, lsn, files, size


def _proofs(journal: Any, facts: Facts, from_at: int, to_at: int, group: str | None) -> None:
    """What the drills made of each group, by the records and policies that are there by now."""
    applied_at = dict(facts.connection.execute("SELECT number, applied_at FROM policies").fetchall())
    records = facts.connection.execute(
        'SELECT records."at", payload FROM records JOIN streams USING (stream) '
        "WHERE starts_with(address, '_audit/') AND topic = ?",
        [ENDED],
    ).fetchall()
    found = spans(held_policies(journal, applied_at, group), results_of(records), from_at, to_at)
    rows = [
        (each.group, each.from_at, each.to_at, each.standing.state, each.standing.reason, each.every) for each in found
    ]
    _insert(facts, "proof_spans", rows)


def _damage(session: Session, facts: Facts) -> None:
    for key in sorted(session.held.damaged):
        facts.unreadable.append(f"Object {key} can't be read: what it says of this period is not in the report.")
    for hole in session.held.holes:
        facts.unreadable.append(f"The journal lacks {hole}: what it said of this period is not in the report.")


def _refuse_unknown(facts: Facts, group: str) -> None:
    rows = facts.connection.execute(
        "SELECT DISTINCT split_part(address, '/', 1) FROM (SELECT address FROM streams UNION "
        "SELECT address FROM policy_sources) WHERE NOT starts_with(address, '_') ORDER BY 1"
    ).fetchall()
    names = [name for (name,) in rows]
    if group not in names:
        hint = f"there is {', '.join(names[:8])}" if names else "nothing is protected yet: see `bcsctl apply`"
        raise NothingThere(f"there is no group '{group}'", hint=hint, details={"groups": names})
