"""Extended attributes as one byte string: sorted, length-prefixed, empty for none.

Layout, repeated for each attribute in the order of names: u16 length and name, u32 length
and value, all little endian. Equal sets encode equally, so comparing bytes compares sets.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

_NAME = struct.Struct("<H")
_VALUE = struct.Struct("<I")


def encode(attributes: Mapping[bytes, bytes]) -> bytes:
    """{name: value} as the canonical byte string."""
    parts: list[bytes] = []
    for name in sorted(attributes):
        value = attributes[name]
        parts += (_NAME.pack(len(name)), name, _VALUE.pack(len(value)), value)
    return b"".join(parts)


def decode(encoded: bytes) -> dict[bytes, bytes]:
    """The canonical byte string as {name: value}; ValueError when it is cut short."""
    attributes: dict[bytes, bytes] = {}
    at = 0
    while at < len(encoded):
        if at + 2 > len(encoded):
            raise ValueError(f"extended attributes end inside a name length at byte {at}")
        (length,) = _NAME.unpack_from(encoded, at)
        at += 2
        name = encoded[at : at + length]
        at += length
        if at + 4 > len(encoded):
            raise ValueError(f"extended attributes end inside a value length at byte {at}")
        (length,) = _VALUE.unpack_from(encoded, at)
        at += 4
        if at + length > len(encoded):
            raise ValueError(f"extended attributes end inside a value at byte {at}")
        attributes[name] = encoded[at : at + length]
        at += length
    return attributes
