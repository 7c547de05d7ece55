"""How a path, which is bytes, is written: in a one-line message, and in JSON."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from typing import Any

_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[nrt])")
_BYTES = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def shown(path: bytes) -> str:
    """Readable and on one line whatever the bytes are: what is not printable UTF-8 is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def unescaped(path: bytes) -> bytes:
    """A path that was shown with escapes, `caf\\xe9`, as the bytes that they stand for."""
    return _ESCAPE.sub(lambda found: _BYTES.get(found[1]) or bytes.fromhex(found[1][1:].decode("ascii")), path)


def path_json(path: bytes, key: str = "path") -> dict[str, str]:
    """{"path": text} and, for bytes that are no UTF-8, {"path_base64": …} too."""
    told = {key: os.fsdecode(path)}
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        told[f"{key}_base64"] = base64.b64encode(path).decode("ascii")
    return told


def failures_json(
    failures: Iterable[tuple[bytes, str]], differences: Iterable[tuple[bytes, str]] = ()
) -> list[dict[str, Any]]:
    """What a restore reports of names that are not there (`failures`), and that differ once read back."""
    return [
        {**path_json(path), "message": why, "differs": differs}
        for found, differs in ((failures, False), (differences, True))
        for path, why in found
    ]
