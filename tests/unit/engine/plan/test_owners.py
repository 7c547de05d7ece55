"""Tables of owners: read, refused by line, applied to files and to the entries of their ACLs."""

from __future__ import annotations

import struct

import pytest

from engine.model import xattrs
from engine.model.errors import UsageError
from engine.model.events import Inode
from engine.plan.owners import parse_owners, with_owners
from engine.plan.restore import Made, RestorePlan

THEN = {("user", "postgres"): 112, ("group", "staff"): 50}
HERE = {("user", "postgres"): 108, ("group", "users"): 100}
ACL = b"system.posix_acl_access"


def table(text: str) -> tuple[list[int], list[int]]:
    owners = parse_owners(text, lambda *name: THEN.get(name), lambda *name: HERE.get(name))
    return [owners.user(uid) for uid in (0, 112, 1000)], [owners.group(gid) for gid in (0, 50)]


def test_names_and_numbers() -> None:
    assert table("user postgres = postgres\n\n# a comment\ngroup staff=users") == ([0, 108, 1000], [0, 100])
    assert table("user * = 7 # everyone\nuser 0 = 0") == ([0, 7, 7], [0, 50])


@pytest.mark.parametrize("line", ["user postgres", "owner 1 = 2", "user nobody = 1", "user 1 = nobody", "user 1 = -2"])
def test_a_line_that_says_nothing_is_named(line: str) -> None:
    with pytest.raises(UsageError, match="line 2"):
        table(f"user 1 = 2\n{line}\n")


def _acl(*entries: tuple[int, int, int]) -> bytes:
    none = 0xFFFFFFFF
    whole = [(1, 6, none), *entries, (4, 4, none), (16, 6, none), (32, 4, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(whole))


def test_acls_are_mapped_and_stay_in_order() -> None:
    encoded = xattrs.encode({ACL: _acl((2, 6, 112), (2, 4, 500), (8, 4, 50)), b"user.note": b"1"})
    made = Made(b"/t/a", Inode(1, 1, 1, "f", 0o660, 112, 50, 0, 0, xattrs=encoded))
    owners = parse_owners("user 112 = 600\ngroup 50 = 51", lambda *_: None, lambda *_: None)
    [mapped] = with_owners(RestorePlan(b"/t", (), (made,), ()), owners).files
    assert (mapped.inode.uid, mapped.inode.gid) == (600, 51)
    assert xattrs.decode(mapped.inode.xattrs) == {ACL: _acl((2, 4, 500), (2, 6, 600), (8, 4, 51)), b"user.note": b"1"}
