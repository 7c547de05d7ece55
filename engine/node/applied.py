"""Applied policies as a node takes them over: every source complete and of the right kinds, or none of them.

The command line sends what it has validated. A node checks again what it will hand to agents and compute with,
since a single bad source would stop the status, and the agents, of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.model.errors import BcsError, UsageError
from engine.model.ids import parse_address
from engine.model.policy.agents import settings_of
from engine.model.policy.sources import SOURCE_KINDS
from engine.model.times import parse_duration
from engine.node.api import fields

SOURCES_MAX = 100_000
_LISTED_MAX = 10_000
_PATH_CHARS = 8_192
_HOST_CHARS = 253
_STREAM = re.compile(r"[0-9a-f]{16}")


def read_applied(body: Mapping[str, Any]) -> dict[str, Any]:
    """{base, by, commit, dirty, documents, sources, agents} of a request to apply. UsageError names what is wrong.

    `agents` are the hosts that have an agent by these policies; of the embedded site there are none.
    """
    dirty = body.get("dirty")
    if dirty is not None and not isinstance(dirty, bool):
        raise fields.wrong("dirty", dirty, "true or false")
    commit = body.get("commit")
    return {
        "base": fields.whole(body, "base", high=99_999_999),
        "by": fields.text(body, "by", "", chars_max=1_000),
        "commit": None if commit is None else fields.text(body, "commit", chars_max=1_000),
        "dirty": dirty,
        "documents": check_sites(fields.mapping(body, "documents")),
        "sources": check_sources(fields.mapping(body, "sources")),
        "agents": fields.texts(body, "agents", count_max=_LISTED_MAX, chars_max=_HOST_CHARS),
    }


def check_sites(documents: Mapping[str, Any]) -> dict[str, Any]:
    """The documents, if what their sites say of agents can be told to these. Raises UsageError."""
    for key in documents:
        kind, _, name = key.partition("/")
        if kind == "Site":
            try:
                settings_of(documents, name)
            except (BcsError, AttributeError, KeyError, TypeError, ValueError):
                raise UsageError(f"what {key[:200]} says of agents makes no sense") from None
    return dict(documents)


def check_sources(sources: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sources by address, if all can be served and no two have one stream. Raises UsageError."""
    if len(sources) > SOURCES_MAX:
        raise UsageError(f"{len(sources)} sources are more than {SOURCES_MAX}")
    owners: dict[str, str] = {}
    for address, source in sources.items():
        try:
            check_source(address, source)
        except UsageError as error:
            raise UsageError(f"source {address[:200]}: {error.message}", hint=error.hint) from None
        other = owners.setdefault(source["stream"], address)
        if other != address:
            raise UsageError(f"sources {other} and {address} have the same stream {source['stream']}")
    return dict(sources)


def check_source(address: str, source: Any) -> None:
    """Raises UsageError for a source that the node or an agent could not work with. Unknown fields are let be."""
    parse_address(address)
    if not isinstance(source, dict):
        raise fields.wrong("source", source, "an object")
    if fields.text(source, "address") != address:
        raise fields.wrong("address", source["address"], f"the address it is listed under, {address}")
    if not _STREAM.fullmatch(fields.text(source, "stream")):
        raise fields.wrong("stream", source["stream"], "16 hexadecimal digits")
    if fields.text(source, "kind") not in SOURCE_KINDS:
        raise fields.wrong("kind", source["kind"], f"one of {', '.join(SOURCE_KINDS)}")
    if source.get("paths") is None or source.get("exclude") is None:
        raise UsageError("'paths' and 'exclude' are missing")
    for name in ("paths", "exclude"):
        listed = fields.texts(source, name, count_max=_LISTED_MAX, chars_max=_PATH_CHARS)
        if any("\0" in each or (name == "paths" and not each.startswith("/")) for each in listed):
            raise fields.wrong(name, listed, "absolute paths" if name == "paths" else "patterns without zero bytes")
    for ignored in fields.objects(source, "ignore", count_max=_LISTED_MAX):
        fields.text(ignored, "path", chars_max=_PATH_CHARS)
    parse_duration(fields.text(source, "rpo", chars_max=40))
    for name in ("settings", "labels"):
        if not all(isinstance(value, str) for value in fields.mapping(source, name, {}).values()):
            raise fields.wrong(name, source[name], "an object of texts")
