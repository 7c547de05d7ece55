"""Addresses of streams and positions within them.

A source is addressed as GROUP/HOST/SOURCE. Its stream's id is derived from the address
that it was first given, so a renamed group keeps its history.
A position is (epoch, LSN); its object form is fixed-width hexadecimal, so that names sort
as positions do; its short form (`3.1234`) is what people read and type.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from engine.model.errors import UsageError

_POSITION = re.compile(r"^([0-9]{1,9})\.([0-9]{1,19})$")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a stream: events up to and including `lsn`, as written in `epoch`."""

    epoch: int
    lsn: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.lsn}"

    @property
    def key(self) -> str:
        """The fixed-width form that object names carry; sorts as positions do."""
        return f"{self.epoch:08x}-{self.lsn:016x}"


def parse_position(text: str) -> Position:
    """Read the short form, `3.1234`."""
    match = _POSITION.match(text)
    if not match:
        raise UsageError(
            f"'{text}' is not a position", hint="write epoch and LSN as `points` prints them, for example 1.1234"
        )
    return Position(int(match.group(1)), int(match.group(2)))


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """GROUP/HOST/SOURCE: the name of one protected thing."""

    group: str
    host: str
    source: str

    def __str__(self) -> str:
        return f"{self.group}/{self.host}/{self.source}"


def parse_address(text: str) -> Address:
    """Read GROUP/HOST/SOURCE; all three parts are needed."""
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        raise UsageError(
            f"'{text}' is not the address of a source", hint="write GROUP/HOST/SOURCE, as `bcsctl status` prints it"
        )
    return Address(*parts)


def split_path(text: str) -> tuple[str, str | None]:
    """Divide GROUP/HOST/SOURCE[:PATH] into the address and the path, or None without one."""
    address, colon, path = text.partition(":")
    return address, (path if colon else None)


def stream_id(address: Address) -> str:
    """The id of the stream that a source at this address begins: 16 hexadecimal digits."""
    return hashlib.blake2b(str(address).encode(), digest_size=8, person=b"bcs-stream").hexdigest()
