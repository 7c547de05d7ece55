"""`--owners`: whose restored files are. keep, none, or map:FILE with a table (engine.plan.owners)."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcsctl.opening import Scene
from engine.model.errors import NothingThere, UsageError
from engine.model.policy.site import EMBEDDED_HOST

if TYPE_CHECKING:
    from engine.plan.owners import Owners, Resolve

_FILES = {"user": b"/etc/passwd", "group": b"/etc/group"}


@dataclass(frozen=True, slots=True)
class Ownership:
    """`kept`: whether files are given owners at all, None for where we may; `mapped` whom else they belong to."""

    kept: bool | None = None
    mapped: Owners | None = None


def ownership(there: Scene, text: str) -> Ownership:
    """What --owners says. UsageError for a table that can't be read, or names whom nobody knows."""
    from engine.plan.owners import KEEP, MAP, NONE, parse_owners

    if text in ("", KEEP):
        return Ownership(True if text else None)
    if text == NONE:
        return Ownership(False)
    how, _, file = text.partition(":")
    if how != MAP or not file:
        raise UsageError(f"--owners {text} says nothing", hint="write keep, none, or map:FILE")
    try:
        table = Path(file).expanduser().read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the owners' table {file} can't be read: {error}", hint="see `bcsctl restore --help`"
        ) from None
    then = _here if there.stream.address.host == EMBEDDED_HOST else _kept(there)
    return Ownership(True, parse_owners(table, then, _here))


def _here(kind: str, name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _kept(there: Scene) -> Resolve:
    """Names as the host's own /etc/passwd and /etc/group have them, where its history holds those."""
    from engine.query.content import content

    known: dict[str, dict[str, int]] = {}

    def resolve(kind: str, name: str) -> int | None:
        if kind not in known:
            try:
                point = there.point("latest")
                _, parts = content(there.session, there.journal, there.stream, point.position, _FILES[kind])
                known[kind] = _numbers(b"".join(parts).decode("utf-8", "replace"))
            except NothingThere:
                known[kind] = {}
        return known[kind].get(name)

    return resolve


def _numbers(text: str) -> dict[str, int]:
    rows = (line.split(":") for line in text.splitlines())
    return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}
