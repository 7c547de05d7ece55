"""The drills that the audit knows: their beginnings and ends, by time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from engine.model.errors import Damaged
from engine.plan.drills import BEGUN, ENDED, Known, take
from engine.query import sql
from engine.query.seen import audit_streams
from engine.query.session import Session


def known_drills(session: Session) -> dict[str, Known]:
    """What is known of each group's drills. Raises Damaged when it can't be read."""

    def read() -> dict[str, Known]:
        known: dict[str, Known] = {}
        for at, what, who, details in _acts(session):
            take(known, what, details, at, who)
        return known

    try:
        return session.reading(read)
    except duckdb.Error as error:
        raise Damaged(f"what the audit says of drills can't be read: {error}", hint="run `bcsctl check`") from error


def _acts(session: Session) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """(at, what, who, details) of each drill's beginning and end."""
    audits = audit_streams(session.journal)
    keys = [key for key, footer in session.held.footers.items() if not audits.keys().isdisjoint(footer.streams)]
    if not keys:
        return
    segments = sql.parquet([session.journal.files.path(key) for key in sorted(keys)])
    named = ", ".join(map(sql.quoted, sorted(audits)))
    acts = f"{sql.quoted(BEGUN)}, {sql.quoted(ENDED)}"
    for at, payload, _ in session.rows(sql.fill("drills", segments=segments, streams=named, acts=acts)):
        try:
            told = json.loads(payload)
            what, who, details = told["what"], str(told.get("who") or ""), dict(told["details"])
        except (ValueError, KeyError, TypeError):
            continue  # what is no act of ours is no drill
        yield at, what, who, details
