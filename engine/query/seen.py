"""Events that a reader of some groups may see: those of the groups' streams, and what the audit says of them alone."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from engine.journal import epochs
from engine.journal.open import Journal
from engine.journal.seen import AUDIT_GROUP, Seen
from engine.model.events import RECORD
from engine.model.ids import Address
from engine.query import sql
from engine.query.session import Session


def audit_streams(journal: Journal) -> dict[str, Address]:
    """The addresses of the nodes' audit streams, by stream."""
    return {each.id: each.address for each in epochs.streams(journal.store) if each.address.group == AUDIT_GROUP}


def only_seen(rows: pa.Table, seen: Seen, audits: dict[str, Address]) -> pa.Table:
    """Of rows with the columns stream, kind and payload those that may be seen, in their order."""
    stream = rows["stream"].cast(pa.string())
    shown = pc.is_in(stream, pa.array(sorted(seen.streams()), pa.string()))
    records = pc.and_(
        pc.is_in(stream, pa.array(sorted(audits), pa.string())), pc.equal(rows["kind"], pa.scalar(RECORD, pa.uint8()))
    )
    # The audit is looked at row by row: it holds acts of people, not changes of files.
    about = [bool(of) and seen.record(text or "") for of, text in zip(records.to_pylist(), _texts(rows), strict=True)]
    return rows.filter(pc.or_(shown, pa.array(about, pa.bool_())))


def _texts(rows: pa.Table) -> list[str | None]:
    texts: list[str | None] = rows["payload"].to_pylist()
    return texts


AUDIT = pa.schema(
    [
        ("at", pa.timestamp("us", "UTC")),
        ("committed_at", pa.timestamp("us", "UTC")),
        ("node", pa.string()),
        ("what", pa.string()),
        ("who", pa.string()),
        ("details", pa.string()),
    ]
)
"""As the view audit of user_audit.sql."""


def audit_table(session: Session, seen: Seen, segments: str) -> pa.Table:
    """What the audit says of what may be seen. `segments` is a relation of all segments."""
    audits = audit_streams(session.journal)
    if not audits:
        return AUDIT.empty_table()
    named = ", ".join(map(sql.quoted, audits))
    query = (
        f'SELECT stream::VARCHAR AS stream, kind, "at", committed_at, payload FROM {segments} '
        f'WHERE stream IN ({named}) ORDER BY "at"'
    )
    rows = []
    for row in only_seen(session.table(query), seen, audits).to_pylist():
        told = json.loads(row["payload"])
        node, details = audits[row["stream"]].host, json.dumps(told["details"], sort_keys=True)
        rows.append((row["at"], row["committed_at"], node, told.get("what"), told.get("who"), details))
    columns = zip(*rows, strict=True) if rows else [[] for _ in AUDIT]
    return pa.table([pa.array(list(each), one.type) for each, one in zip(columns, AUDIT, strict=True)], schema=AUDIT)


def copy_of_seen(session: Session, seen: Seen, segments: str, file: Path) -> None:
    """Write the events of the seen streams to a Parquet file, without the names of packs, which count all commits.

    A copy and no view: conditions of a user's query may be tried on rows before a view's own, and errors repeat them.
    """
    named = ", ".join(map(sql.quoted, sorted(seen.streams()))) or "''"
    events = f"SELECT * REPLACE (NULL::VARCHAR AS pack) FROM {segments} WHERE stream IN ({named})"
    session.rows(f"COPY ({events}) TO {sql.quoted(str(file))} (FORMAT parquet)")
