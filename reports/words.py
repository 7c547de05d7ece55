"""How values look to readers: times, durations, retention, and names that may hold anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.model.times import SECOND, format_about, format_duration, format_size, format_time

VERDICTS = {"met": "met", "missed": "missed", "not-shown": "met as far as known", "not-judged": "not judged"}
STATES = {
    "protected": "protected",
    "gap": "gap",
    "late": "above the objective",
    "unproved": "not fully shown",
    "unprotected": "unprotected",
    "open": "still open",
    "none": "no policy",
}
PROOFS = {
    "passed": "proven",
    "failed": "unproven",
    "stale": "unproven",
    "void": "unproven",
    "never": "unproven",
    "none": "no drill asked for",
}


def printable(text: Any) -> str:
    """A name for the eye: control characters, and bytes that are no UTF-8 (surrogates), as escapes.

    Escaping for HTML or Markdown is for the template.
    """
    shown = []
    for char in str(text):
        if char.isprintable():
            shown.append(char)
        else:
            raw = char.encode("utf-8", "surrogateescape") if "\udc80" <= char <= "\udcff" else None
            shown.append("".join(f"\\x{byte:02x}" for byte in raw) if raw else _escape(char))
    return "".join(shown)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def cell(text: Any) -> str:
    """Text for a Markdown table or sentence: nothing in it is markup, a row or HTML."""
    shown = printable(text)
    for char in "\\`*_[]<>|#~":
        shown = shown.replace(char, f"\\{char}")
    return shown.replace("&", "&amp;").replace("://", ":\u200b//")


def moment(text: str | None) -> str:
    """A time of the report's structure, to the second: `2026-11-22 10:00:00`. UTC, as the report's head says."""
    return text[:19].replace("T", " ") if text else "–"


def span(seconds: float | None) -> str:
    """A duration in seconds for the eye: `250 ms`, `2 h 5 m`."""
    return format_about(round(seconds * SECOND)) if seconds is not None else "–"


def size(count: int | None) -> str:
    return format_size(count) if count is not None else "–"


def number(count: int | None) -> str:
    return f"{count:,}" if count is not None else "–"


def yes_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "not said"}[value]


def objective(seconds: float) -> str:
    """An objective as policies write it: `5s`."""
    return format_duration(round(seconds * SECOND))


def retention(tiers: Sequence[Mapping[str, str]] | None) -> str:
    """`every-change for 7d, 1h for 90d`."""
    return ", ".join(f"{tier['keep']} for {tier['for']}" for tier in tiers or ()) or "everything, without end"


def commit(policy: Mapping[str, Any]) -> str:
    """The git commit of an applied policy, shortened, and whether the tree had other changes."""
    if not policy["commit"]:
        return "not from git"
    return str(policy["commit"])[:12] + (" with uncommitted changes" if policy["dirty"] else "")


def iso(at: int | None) -> str | None:
    """Microseconds as the structure has times."""
    return format_time(at) if at is not None else None


def seconds(duration: int | None) -> float | None:
    """Microseconds as the structure has durations."""
    return duration / SECOND if duration is not None else None


def several(count: int, one: str, many: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def measured(drill: Mapping[str, Any], name: str) -> str:
    """A drill's `rto` or `rpo`, with the objective: `1.2 s of 2m`."""
    target = drill[f"{name}_target_seconds"]
    return span(drill[f"{name}_seconds"]) + (f" of {objective(target)}" if target is not None else "")


def unproven_for(proof: Mapping[str, Any]) -> float:
    """How long of the period a group was unproven, seconds."""
    return float(sum(lasting for state, lasting in proof["lasting_seconds"].items() if state != "passed"))


def whereto(restore: Mapping[str, Any]) -> str:
    """Where a restore went: `in place`, `a tar stream`, `db9:/tmp/back`."""
    host = restore["host"]
    if restore["place"] != "directory":
        return f"{restore['place']} on {host}" if host else str(restore["place"])
    return (f"{host}:" if host else "") + (restore["target"] or "–")
