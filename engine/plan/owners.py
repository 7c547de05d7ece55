"""Whose restored files are: as they were, as a table says, or of whoever restores. Pure.

A table is text: `user OLD = NEW` and `group OLD = NEW`, one a line, `#` begins a comment. OLD and NEW are names or
numbers; `*` as OLD is everyone whom no other line names. Entries of ACLs for single users and groups are mapped too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from engine.model import acls, xattrs
from engine.model.errors import UsageError
from engine.plan.restore import Made, RestorePlan

KEEP, MAP, NONE = "keep", "map", "none"
USER, GROUP = "user", "group"
EVERYONE = "*"

Resolve = Callable[[str, str], int | None]
"""(user or group, a name) -> its number, None where it is not known."""

_LINE = re.compile(r"^(user|group)\s+(\S+?)\s*=\s*(\S+)$")
_ACL_USER, _ACL_GROUP = 2, 8


@dataclass(frozen=True, slots=True)
class Owners:
    """Numbers by numbers, and what becomes of all others (None: they stay)."""

    users: Mapping[int, int] = field(default_factory=dict)
    groups: Mapping[int, int] = field(default_factory=dict)
    other_users: int | None = None
    other_groups: int | None = None

    def user(self, uid: int) -> int:
        return self.users.get(uid, uid if self.other_users is None else self.other_users)

    def group(self, gid: int) -> int:
        return self.groups.get(gid, gid if self.other_groups is None else self.other_groups)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: `kind` USER or GROUP, `old` and `new` names or numbers, as they were written."""

    number: int
    kind: str
    old: str
    new: str


def parse_table(text: str) -> tuple[Line, ...]:
    """The lines of a table. UsageError names the one that says nothing."""
    found = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        match = _LINE.match(line)
        if not match:
            raise UsageError(f"line {number} of the owners' table: '{line}'", hint="write: user OLD = NEW")
        found.append(Line(number, *match.groups()))
    return tuple(found)


def as_numbers(lines: Iterable[Line], then: Resolve) -> tuple[Line, ...]:
    """The table with numbers on the left, by what `then` knows: for whoever resolves the right elsewhere. UsageError
    names the line that names nobody."""
    return tuple(
        line
        if line.old == EVERYONE
        else replace(line, old=str(_number(line.kind, line.old, then, line.number, "where it was protected")))
        for line in lines
    )


def resolved(lines: Iterable[Line], then: Resolve, here: Resolve) -> Owners:
    """A table as numbers; names on the left are those of `then`, on the right those of `here`. UsageError names the
    line that names nobody."""
    found: dict[str, dict[int, int]] = {USER: {}, GROUP: {}}
    others: dict[str, int] = {}
    for line in lines:
        into = _number(line.kind, line.new, here, line.number, "on this machine")
        if line.old == EVERYONE:
            others[line.kind] = into
        else:
            found[line.kind][_number(line.kind, line.old, then, line.number, "where it was protected")] = into
    return Owners(found[USER], found[GROUP], others.get(USER), others.get(GROUP))


def parse_owners(text: str, then: Resolve, here: Resolve) -> Owners:
    """`resolved` of a table's text."""
    return resolved(parse_table(text), then, here)


def nobody(kind: str, name: str) -> int | None:
    """A Resolve that knows no names."""
    return None


def with_owners(plan: RestorePlan, owners: Owners) -> RestorePlan:
    """The plan with other owners."""
    parts = (tuple(_made(made, owners) for made in part) for part in (plan.directories, plan.files, plan.others))
    return RestorePlan(plan.target, *parts)


def _made(made: Made, owners: Owners) -> Made:
    inode = made.inode
    kept = mapped_xattrs(inode.xattrs, owners)
    changed = replace(inode, uid=owners.user(inode.uid), gid=owners.group(inode.gid), xattrs=kept)
    return replace(made, inode=changed)


def mapped_xattrs(encoded: bytes, owners: Owners) -> bytes:
    """Extended attributes (engine.model.xattrs) with the users and groups that their ACLs name mapped."""
    if not encoded:
        return b""
    values = dict(xattrs.decode(encoded))
    for name in acls.KINDS:
        if name in values:
            values[name] = _acl(values[name], owners)
    return xattrs.encode(values)


def _acl(value: bytes, owners: Owners) -> bytes:
    """One ACL as the kernel has it: a version, then (tag, permissions, id), those of one tag by id (acl(5))."""
    entries = []
    for tag, permissions, number in struct.iter_unpack("<HHI", value[4 : 4 + (len(value) - 4) // 8 * 8]):
        into = {_ACL_USER: owners.user, _ACL_GROUP: owners.group}.get(tag)
        entries.append((tag, into(number) if into else number, permissions))
    mapped = b"".join(struct.pack("<HHI", tag, permissions, number) for tag, number, permissions in sorted(entries))
    return value[:4] + mapped


def _number(kind: str, text: str, resolve: Resolve, line: int, where: str) -> int:
    found = int(text) if text.isascii() and text.isdigit() else resolve(kind, text)
    if found is None or not 0 <= found < 0xFFFFFFFF:
        raise UsageError(
            f"line {line} of the owners' table: no {kind} '{text}' is known {where}", hint="write its number"
        )
    return found
