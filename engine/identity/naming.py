"""What a certificate says of its owner: `bcs://SITE/host/NAME` or `bcs://SITE/node/NAME`, an URI among its names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

Role = Literal["host", "node"]

_URI = re.compile(r"bcs://([^/]+)/(host|node)/([^/]+)")


@dataclass(frozen=True, slots=True)
class Name:
    """The owner of a certificate."""

    site: str
    role: Role
    name: str

    def __str__(self) -> str:
        return f"bcs://{quote(self.site, safe='')}/{self.role}/{quote(self.name, safe='')}"


def parse_name(uri: str) -> Name | None:
    """The name that an URI says; None for one that is not ours."""
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    role: Role = "host" if match[2] == "host" else "node"
    return Name(unquote(match[1]), role, unquote(match[3]))
