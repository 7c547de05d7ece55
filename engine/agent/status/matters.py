"""What is the matter with an agent, each with a name and a sentence; and lines in the log when each begins and ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.agent.log import INFO, WARNING, log
from engine.env.clock import Clock
from engine.model.times import SECOND, SKEW_TOLD, format_about, format_size, format_time

SPOOL_SHARE_TOLD = 80
"""Percent of the spool's limit from which on it is told."""

UNHEARD_AFTER = 10 * SECOND
GRACE = 3 * SECOND
CERTIFICATE_LATE = 5 / 6
"""Agents renew theirs when two thirds of its life are over: one that has not by then does not get one."""

UNREADABLE_SHOWN = 5
TOLD_OTHERWISE = ("node", "failed", "certificate-refused", "limits")
"""Kinds whose lines those write who notice them first."""


@dataclass(frozen=True, slots=True)
class Matter:
    """`kind` is one word, `subject` a source's address or empty for the host."""

    kind: str
    text: str
    subject: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.subject}: {self.text}" if self.subject else self.text


def matters(state: Mapping[str, Any], now: int) -> list[Matter]:
    """What is not as it should be, the worst first. `now` is site time."""
    return [
        *_of_node(state["node"], now),
        *_of_certificate(state["certificate"], now),
        *(matter for source in state["sources"] for matter in _of_source(source, now)),
        *_of_host(state),
    ]


def _of_node(node: Mapping[str, Any], now: int) -> Iterator[Matter]:
    since = f"since {format_time(node['heard_at'])}" if node["heard_at"] else "since this agent started"
    if node["message"]:
        yield Matter("node", f"the node does not hear this host {since}: {node['message']}")
    elif node["heard_at"] and now - node["heard_at"] > UNHEARD_AFTER:
        yield Matter("node", f"the node was not reached {since}")


def _of_certificate(certificate: Mapping[str, Any] | None, now: int) -> Iterator[Matter]:
    if certificate is None:
        return
    begins, ends = certificate["issued_at"], certificate["not_after"]
    if certificate["message"]:
        yield Matter("certificate-refused", certificate["message"])
    if ends and ends <= now:
        yield Matter("certificate", f"this host's certificate ended at {format_time(ends)}: run `bcsctl apply` for it")
    elif ends and now - begins > (ends - begins) * CERTIFICATE_LATE:
        yield Matter("certificate", f"this host's certificate ends at {format_time(ends)} and was not renewed")


def _of_source(source: Mapping[str, Any], now: int) -> Iterator[Matter]:
    address = source["address"]
    if source["state"] == "failed":
        yield Matter("failed", f"not protected: {source['message'] or 'it says nothing'}", address)
    if source.get("gap_from"):
        why = f" ({source['gap_reason']})" if source.get("gap_reason") else ""
        since = format_time(source["gap_from"])
        yield Matter("gap", f"changes since {since} may have been missed{why}; it is looking", address)
    lag, rpo = source.get("lag"), source.get("rpo")
    if source["state"] == "protected" and lag is not None and rpo and lag > rpo + GRACE:
        behind = f"{format_about(lag)} behind, its objective is {format_about(rpo)}: {source['pending']:,} wait"
        yield Matter("lag", behind, address)
    if count := source.get("unreadable", 0):
        paths = [f"{each['path']} ({each['reason']})" for each in source.get("unreadable_paths", ())[:UNREADABLE_SHOWN]]
        more = f" and {count - len(paths)} more" if count > len(paths) else ""
        noun = "path" if count == 1 else "paths"
        yield Matter("unreadable", f"{count} {noun} can't be read: {', '.join(paths)}{more}", address)


def _of_host(state: Mapping[str, Any]) -> Iterator[Matter]:
    use, skew = state["usage"], state["clock_skew"]
    if use["spool_bytes"] * 100 > use["spool_limit_bytes"] * SPOOL_SHARE_TOLD:
        held = f"{format_size(use['spool_bytes'])} of {format_size(use['spool_limit_bytes'])}"
        yield Matter("spool-filling", f"the spool holds {held}: what comes when it is full is a gap")
    if skew is not None and abs(skew) > SKEW_TOLD:
        off = f"{format_about(abs(skew))} {'ahead of' if skew > 0 else 'behind'}"
        yield Matter("clock-skew", f"this host's clock is {off} the site's: is its time service running?")
    if use["message"]:
        yield Matter("limits", use["message"])


class Told:
    """Writes a line when a matter begins and one when it is over. For one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}

    def now(self, found: list[Matter]) -> None:
        """These are the matters now."""
        at = self._clock.monotonic()
        mine = [matter for matter in found if matter.kind not in TOLD_OTHERWISE]
        for matter in mine:
            if (matter.kind, matter.subject) not in self._since:
                self._since[matter.kind, matter.subject] = at
                log(matter.sentence, self._clock, level=WARNING, matter=matter.kind, **_subject(matter.subject))
        there = {(matter.kind, matter.subject) for matter in mine}
        for kind, subject in [key for key in self._since if key not in there]:
            seconds = round(at - self._since.pop((kind, subject)), 1)
            text = f"{subject}: {kind} is over" if subject else f"{kind} is over"
            log(text, self._clock, level=INFO, matter=kind, **_subject(subject), seconds=seconds)


def _subject(subject: str) -> dict[str, Any]:
    return {"source": subject} if subject else {}
