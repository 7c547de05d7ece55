"""POSIX ACLs: from the form in which the kernel keeps them to the text that tools write. Source: acl(5), xattr(7)."""

from __future__ import annotations

import struct

KINDS = {b"system.posix_acl_access": "access", b"system.posix_acl_default": "default"}
_VERSION = 2
_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_NAMED = (0x02, 0x08)


def text(value: bytes) -> bytes:
    """`user::rw-,user:1234:r--,...` with numbers for names. ValueError for what is no ACL of version 2."""
    if len(value) < 4 or (len(value) - 4) % 8 or struct.unpack_from("<I", value)[0] != _VERSION:
        raise ValueError(f"{len(value)} bytes are no ACL of version {_VERSION}")
    entries = []
    for tag, permissions, id in struct.iter_unpack("<HHI", value[4:]):
        if tag not in _TAGS:
            raise ValueError(f"an ACL has no entries of kind {tag}")
        bits = "".join(letter if permissions & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        entries.append(f"{_TAGS[tag]}:{id if tag in _NAMED else ''}:{bits}")
    return ",".join(entries).encode()
