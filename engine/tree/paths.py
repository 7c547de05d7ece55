"""How a path, which is bytes, is written in a one-line message."""

from __future__ import annotations


def shown(path: bytes) -> str:
    """Readable and on one line whatever the bytes are: what is not printable UTF-8 is escaped."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
