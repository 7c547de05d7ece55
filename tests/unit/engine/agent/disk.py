"""What is on disk, in the form that FakeNode.image gives; shares nothing with the agent."""

from __future__ import annotations

import os
import stat as st
from typing import Any

from engine.model import xattrs

_LETTERS = {0o10: "f", 0o04: "d", 0o12: "l", 0o01: "p", 0o14: "s", 0o02: "c", 0o06: "b"}


def disk_image(root: bytes, exclude: Any = lambda path: False) -> dict[bytes, tuple[Any, ...]]:
    found: dict[bytes, tuple[Any, ...]] = {}
    first: dict[tuple[int, int], bytes] = {}
    paths = [root]
    for directory, names, files in os.walk(root):
        paths += [os.path.join(directory, name) for name in names + files]
    for path in sorted(paths):
        short = path[len(root) :] or b"."
        if exclude(short):
            continue
        status = os.lstat(path)
        kind = _LETTERS[status.st_mode >> 12]
        content = b""
        if kind == "f":
            with open(path, "rb") as file:
                content = file.read()
        kept = {
            os.fsencode(n): os.getxattr(path, n, follow_symlinks=False)
            for n in os.listxattr(path, follow_symlinks=False)
        }
        link = first.setdefault((status.st_dev, status.st_ino), short)
        found[short] = (
            *(kind, st.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns),
            status.st_rdev if kind in "cb" else 0,
            os.readlink(path) if kind == "l" else b"",
            xattrs.encode(kept),
            link if kind != "d" else b"",
            content,
        )
    return found


def differences(left: dict[bytes, tuple[Any, ...]], right: dict[bytes, tuple[Any, ...]]) -> list[str]:
    """Every path that differs, in words."""
    found = []
    for path in sorted({*left, *right}):
        a, b = left.get(path), right.get(path)
        if a is None or b is None:
            found.append(f"{path!r}: missing on the {'left' if a is None else 'right'}")
        elif a != b:
            parts = [(n, x, y) for n, (x, y) in enumerate(zip(a[:9], b[:9], strict=True)) if x != y]
            contents = [] if a[9] == b[9] else [(len(a[9]), a[9][:40], len(b[9]), b[9][:40])]
            found.append(f"{path!r}: {parts} {contents}")
    return found
