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
from engine.model.times import SECOND, SKEW_TOLD, format_about, format_size, format_time

SPOOL_SHARE_TOLD = 80
"""Percent of the spool's limit from which on it is told."""

UNHEARD_AFTER = 10 * SECOND
GRACE = 3 * SECOND
CERTIFICATE_LATE = 5 / 6
"""Agents renew theirs when two thirds of its life are over: one that has not by then does not get one."""

UNREADABLE_SHOWN = 5


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


def attention(state: Mapping[str, Any], now: int) -> list[str]:
    """What is not as it should be, a sentence each, the worst first. `now` is site time."""
    return [
        *_of_node(state["node"], now),
        *_of_certificate(state["certificate"], now),
        *(f"{source['address']}: {text}" for source in state["sources"] for text in _of_source(source, now)),
        *_of_host(state),
    ]


def _of_node(node: Mapping[str, Any], now: int) -> list[str]:
    if node["heard_at"] and now - node["heard_at"] <= UNHEARD_AFTER and not node["message"]:
        return []
    since = f"since {format_time(node['heard_at'])}" if node["heard_at"] else "since this agent started"
    if not node["message"]:
        return [] if not node["heard_at"] else [f"the node was not reached {since}"]
    return [f"the node does not hear this host {since}: {node['message']}"]


def _of_certificate(certificate: Mapping[str, Any] | None, now: int) -> list[str]:
    if certificate is None:
        return []
    told = [certificate["message"]] if certificate["message"] else []
    begins, ends = certificate["issued_at"], certificate["not_after"]
    if ends and ends <= now:
        return [*told, f"this host's certificate ended at {format_time(ends)}: run `bcsctl apply` for it"]
    if ends and now - begins > (ends - begins) * CERTIFICATE_LATE:
        return [*told, f"this host's certificate ends at {format_time(ends)} and was not renewed"]
    return told


def _of_source(source: Mapping[str, Any], now: int) -> list[str]:
    told = []
    if source["state"] == "failed":
        told.append(f"not protected: {source['message'] or 'it says nothing'}")
    if source.get("gap_from"):
        why = f" ({source['gap_reason']})" if source.get("gap_reason") else ""
        told.append(f"changes since {format_time(source['gap_from'])} may have been missed{why}; it is looking")
    lag, rpo = source.get("lag"), source.get("rpo")
    if source["state"] == "protected" and lag is not None and rpo and lag > rpo + GRACE:
        told.append(f"{format_about(lag)} behind, its objective is {format_about(rpo)}: {source['pending']:,} wait")
    if count := source.get("unreadable", 0):
        paths = [f"{each['path']} ({each['reason']})" for each in source.get("unreadable_paths", ())[:UNREADABLE_SHOWN]]
        more = f" and {count - len(paths)} more" if count > len(paths) else ""
        told.append(f"{count} {'path' if count == 1 else 'paths'} can't be read: {', '.join(paths)}{more}")
    return told


def _of_host(state: Mapping[str, Any]) -> list[str]:
    use, skew = state["usage"], state["clock_skew"]
    told = []
    if use["spool_bytes"] * 100 > use["spool_limit_bytes"] * SPOOL_SHARE_TOLD:
        size, limit = format_size(use["spool_bytes"]), format_size(use["spool_limit_bytes"])
        told.append(f"the spool holds {size} of {limit}: what comes when it is full is a gap")
    if skew is not None and abs(skew) > SKEW_TOLD:
        how = "ahead of" if skew > 0 else "behind"
        told.append(f"this host's clock is {format_about(abs(skew))} {how} the site's: is its time service running?")
    return [*told, *filter(None, [use["message"]])]


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
