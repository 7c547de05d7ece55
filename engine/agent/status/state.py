"""How an agent is, as one document: told to its node in part, and on its own host whole, the node being away or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.agent.capture.cache import OldBytes
from engine.agent.kept.spool import Spool
from engine.agent.limits import InForce
from engine.env import usage
from engine.model.times import SECOND


@dataclass(slots=True)
class Heard:
    """Whether the node hears this host: when it last did, site time, 0 for never; and why it does not now."""

    heard_at: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """This host's, as far as its files tell: from when to when it holds, site time, 0 for not known; what is wrong, or
    nothing."""

    issued_at: int = 0
    not_after: int = 0
    message: str = ""


def usage_of(limits: InForce, spools: Mapping[str, Spool], cache: OldBytes) -> dict[str, Any]:
    """What the agent uses and may use now. Sizes in bytes, paces in bytes a second, None for no bound."""
    return {
        "memory_bytes": usage.memory_bytes(),
        "memory_limit_bytes": limits.limits.memory_limit_bytes,
        "cpu_seconds": round(usage.cpu_seconds(), 2),
        "spool_bytes": sum(each.size_bytes for each in list(spools.values())),
        "spool_limit_bytes": limits.limits.spool_limit_bytes,
        "cache_bytes": cache.bytes,
        "bandwidth": limits.bandwidth(),
        "baseline_bandwidth": limits.baseline_bandwidth(),
        "message": limits.message,
    }


def certificate_in(folder: Path, message: str = "") -> Certificate:
    """From the note beside a host's certificate; without one nothing is known."""
    try:
        told = json.loads((folder / "life.json").read_bytes())
        return Certificate(int(told["issued_at"]), int(told["not_after"]), message)
    except (OSError, ValueError, KeyError, TypeError):
        return Certificate(message=message)


def source_row(wanted: Mapping[str, Any], row: Mapping[str, Any], now: int) -> dict[str, Any]:
    """A source's row with what its host knows besides: `lag` is how far the journal is behind for certain, `rpo` how
    far it may be, microseconds."""
    through_at = row.get("through_at")
    return {
        "address": wanted.get("address") or row["stream"],
        "paths": list(wanted.get("paths") or ()),
        "rpo": round((wanted.get("rpo_seconds") or 0) * SECOND),
        "lag": max(0, now - through_at) if through_at else None,
        **row,
    }
