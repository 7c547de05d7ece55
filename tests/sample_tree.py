"""A tree with one of everything that a file system can hold."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

ODD_NAMES = [b"caf\xe9 not utf-8", b"line\nbreak", b"n" * 255, b"-rf", b" ", b"\xc3\xa9", b"back\\slash"]


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as the kernel has it (version 2): (tag, permissions, id) each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NONE = 0xFFFFFFFF
ACL = acl((1, 6, NONE), (2, 4, 1234), (4, 4, NONE), (0x10, 4, NONE), (0x20, 0, NONE))
"""user::rw- user:1234:r-- group::r-- mask::r-- other::---"""
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service=ep"""


def make_sample(root: Path) -> None:
    """Fill the existing directory `root`; as root with owners, devices, capabilities and a set-uid file too."""
    top = os.fsencode(root)
    (root / "plain").write_bytes(b"hello\n")
    (root / "dir" / "deeper").mkdir(parents=True)
    for name in ODD_NAMES:
        with open(top + b"/dir/" + name, "wb") as file:
            file.write(name)
    os.link(root / "plain", root / "dir" / "hard link")
    os.symlink(b"no\xffwhere", top + b"/dangling")
    os.symlink("plain", root / "soft")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        directory = os.open(root, os.O_PATH)
        unix.bind(f"/proc/self/fd/{directory}/socket")  # the path itself may be too long for an address
        os.close(directory)
    with open(root / "sparse", "wb") as file:
        os.pwrite(file.fileno(), b"x" * 5000, 1 << 20)
        os.ftruncate(file.fileno(), 3 << 20)
    os.setxattr(root / "plain", b"user.note", b"\0binary\xff")
    os.setxattr(root / "dir", b"user.empty", b"")
    os.setxattr(root / "sparse", b"system.posix_acl_access", ACL)
    os.setxattr(root / "dir" / "deeper", b"system.posix_acl_default", ACL)
    if os.geteuid() == 0:
        _make_privileged(root)
    (root / "read-only").mkdir()
    (root / "read-only" / "inside").write_bytes(b"i")
    (root / "read-only" / "inside").chmod(0o400)
    (root / "read-only").chmod(0o500)
    for number, path in enumerate([*sorted(root.rglob("*"), reverse=True), root]):
        stamp = 1_600_000_000_123_456_789 + number * 1_000_000_007
        os.utime(path, ns=(stamp, stamp), follow_symlinks=False)


def _make_privileged(root: Path) -> None:
    os.mknod(root / "null", 0o666 | 0o020000, os.makedev(1, 3))
    os.mknod(root / "block", 0o600 | 0o060000, os.makedev(7, 200))
    os.chown(root / "soft", 4321, 1234, follow_symlinks=False)
    (root / "tool").write_bytes(b"#!")
    os.chown(root / "tool", 4321, 1234)
    os.chmod(root / "tool", 0o6755)
    os.setxattr(root / "tool", b"security.capability", CAPABILITY)
    os.setxattr(root / "soft", b"trusted.on-a-symlink", b"yes", follow_symlinks=False)
    os.chmod(root / "dir", 0o1777)
    os.chown(root / "dir" / "deeper", 1, 2)
