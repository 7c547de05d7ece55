"""What an agent is told: the sources of its host. Pure; the node serves it, the agent obeys it."""

from __future__ import annotations

import re
from typing import Any

from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.times import SECOND

_WILD = re.compile(r"[*?\[\]\\]")


def desired_state(policies: PolicySet, host: str, generation: int) -> dict[str, Any]:
    """The JSON form of what `host` is to protect as of control number `generation`.

    A source that isn't in the list is no longer protected. `exclude` holds the policy's patterns, as
    `engine.tree.match` reads them, and after them the ignored paths with their wildcards escaped.
    """
    sources = [_source(source) for source in policies.sources if source.address.host == host]
    return {"generation": generation, "sources": sources}


def escaped(path: str) -> str:
    """A path as a pattern that matches only itself."""
    return _WILD.sub(r"\\\g<0>", path)


def _source(source: SourceSpec) -> dict[str, Any]:
    hooks = source.consistency.hooks
    return {
        "stream": source.stream_id,
        "address": str(source.address),
        "kind": source.kind,
        "paths": list(source.paths),
        "exclude": [*source.exclude, *(escaped(ignored.path) for ignored in source.ignore)],
        "rpo_seconds": source.rpo / SECOND,
        "crash_point_every_seconds": source.consistency.crash_point_every / SECOND,
        "freeze": source.consistency.freeze_allowed,
        "hooks": {"before": hooks.before, "after": hooks.after, "timeout_seconds": hooks.timeout / SECOND}
        if hooks
        else None,
        "settings": dict(source.settings),
    }
