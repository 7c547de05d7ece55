"""What hosts are asked to do for a recovery beyond making a tree: how it is asked for, sent on, and recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from engine.journal.open import Journal
from engine.model.errors import UsageError
from engine.model.events import DIRECTORY
from engine.model.points import Point
from engine.model.times import format_time
from engine.node.api import fields
from engine.plan.owners import KEEP, NONE, as_numbers, parse_table
from engine.plan.restore import origins
from engine.query.applied import paths_of
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.query.tree import stat
from engine.recovery.granting import Grant
from engine.recovery.owners import known_then
from engine.recovery.sending import Sending
from engine.tree.paths import path_json
from engine.wire import errands

BEGUN = {"": "restoring", errands.SCRATCH: "restoring", errands.PROMOTE: "promoting"}
ENDED = {
    "": "restore",
    errands.SCRATCH: "restore",
    errands.CHECK: "scratch-check",
    errands.PROMOTE: "promote",
    errands.DISCARD: "discard",
}
"""What the audit calls the beginning and the end of each; what is not named here is not recorded."""
_FLAGS = ("overwrite", "aside", "into_protected")
_TABLE_CHARS = 64_000
_PATH_CHARS = 4096


def asked(body: Mapping[str, Any], host: str) -> tuple[str, dict[str, Any]]:
    """(way, how) of a restore that is asked for."""
    way = fields.text(body, "way", "", chars_max=20)
    if way not in ("", errands.LOOK, errands.SCRATCH):
        raise UsageError(f"'{way}' is no way to restore")
    if way == errands.SCRATCH and not host:
        raise UsageError("scratch on a host needs a host", hint="write --to HOST:scratch")
    how: dict[str, Any] = {name: True for name in _FLAGS if body.get(name) is True}
    owners = fields.text(body, "owners", "", chars_max=_TABLE_CHARS)
    if owners:
        how["owners"] = owners
    beside = fields.text(body, "beside", "", chars_max=_PATH_CHARS)
    if beside and not beside.startswith("/"):
        raise UsageError(f"'{beside[:200]}' is not an absolute path", hint="write --scratch /the/whole/path")
    return way, {**how, "beside": beside} if beside else how


def needs_recoverer(way: str, how: Mapping[str, Any], host: str) -> bool:
    """Whether it replaces what stands on a host, or lands in its protected data."""
    return bool(host) and way != errands.LOOK and any(how.get(name) for name in _FLAGS)


def worked_out(
    journal: Journal,
    session: Session,
    stream: StreamInfo,
    point: Point,
    told: Mapping[str, Any],
    own_host: bool,
) -> dict[str, Any]:
    """What the journal adds to `how`: numbers for the owners' names of then, and where it came from on that host."""
    how, path = dict(told["how"]), None if told["path"] is None else os.fsencode(told["path"])
    if how.get("owners") and how["owners"] not in (KEEP, NONE):
        then = known_then(journal, session, stream, point.position)
        how["owners"] = errands.owners_told(as_numbers(parse_table(how["owners"]), then))
    if own_host:
        own = paths_of(journal, stream.id, point.at)
        is_file = False
        if path is None and len(own) == 1 and own[0] != b"/":
            is_file = stat(session, stream.id, point.position, own[0]).inode.type != DIRECTORY
        roots = origins(path, own, b"", is_file=is_file)
        if told["way"] == errands.SCRATCH:
            how["roots"] = [[os.fsdecode(one) or ".", os.fsdecode(origin)] for one, origin in roots]
        folder = os.fsencode(told["dir"]).rstrip(b"/")
        if how.get("overwrite") and roots and all(_joined(folder, one) == origin for one, origin in roots):
            how["own_place"] = True
    return how


def granted_json(grant: Grant) -> dict[str, Any]:
    """An errand as its host gets it: without a directory where an agent of before would look for one."""
    told = {
        "dir": grant.dir,
        "address": grant.address,
        "path": grant.path,
        "point": grant.position,
        "at": format_time(grant.point_at),
        "class": grant.point_class,
        "by": grant.by,
    }
    way = grant.way or errands.RESTORE
    return {"id": grant.id, "way": way, "how": {**told, **grant.how}, "verify": grant.verify}


def plan_json(grant: Grant, sending: object) -> dict[str, Any]:
    """What the receiver of a plan has to know besides."""
    listings = {"listings": sending.listings} if isinstance(sending, Sending) else {}
    return {**listings, "owners": grant.how.get("owners"), "roots": grant.how.get("roots", [])}


def details(grant: Grant) -> dict[str, Any]:
    """What the audit keeps of how it was asked for."""
    how = grant.how
    kept: dict[str, Any] = {name: True for name in (*_FLAGS, "changed") if how.get(name)}
    if how.get("owners"):
        kept["owners"] = how["owners"] if how["owners"] in (KEEP, NONE) else "map"
    kept |= {name: how[name] for name in ("beside", "to", "scratch") if how.get(name)}
    if grant.way == errands.SCRATCH:
        kept |= {"scratch": True, "target": errands.SCRATCH}
    return kept


def outcome_details(grant: Grant, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit keeps of how it ended, beyond the numbers."""
    scratch, kept = outcome.get("scratch"), dict[str, Any]()
    if isinstance(scratch, dict):
        kept |= {
            "scratch": str(scratch.get("id", "")),
            **path_json(os.fsencode(str(scratch.get("tree", ""))), "target"),
        }
    checked = outcome.get("checked")
    if isinstance(checked, dict):
        kept |= {"passed": checked.get("passed") is True, "checks": _briefly(checked.get("checks"))}
    moves = outcome.get("moves")
    if isinstance(moves, list):
        kept |= {"moves": moves[:20], "target": ", ".join(str(move.get("to", "")) for move in moves[:20])}
        kept["checks"] = _briefly(scratch.get("checks") if isinstance(scratch, dict) else ())
    return kept


def _briefly(checks: object) -> list[dict[str, Any]]:
    rows = checks if isinstance(checks, list) else []
    return [{name: each.get(name) for name in ("command", "code", "seconds")} for each in rows[:20]]


def _joined(folder: bytes, below: bytes) -> bytes:
    return folder + b"/" + below if below else folder
