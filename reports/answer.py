"""The sentences of the recovery audit: its answer, what is to be known of each source, and what it can't know. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.plan.drills import PASSED, UNPROVEN
from reports.words import moment, objective, several, span

GROUPS_NAMED = 5
JUDGED = ("met", "missed", "not-shown")


def answer(sources: Sequence[Mapping[str, Any]], proofs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """{text, sources, met, missed, not_shown, not_judged, unproven[group], exceptions[{address, verdict, text}]}.

    `proofs` is what drills made of each group: those that no drill proves, and those of which one failed, come first.
    """
    counts = {verdict: sum(one["verdict"] == verdict for one in sources) for verdict in (*JUDGED, "not-judged")}
    judged = sum(counts[verdict] for verdict in JUDGED)
    unproven = [one["group_name"] for one in proofs if one["state"] in UNPROVEN]
    exceptions = [
        {"address": one["group_name"], "verdict": verdict, "text": text}
        for one in proofs
        for verdict, text in _drilled(one)
    ]
    exceptions += [
        {"address": one["address"], "verdict": one["verdict"], "text": text} for one in sources for text in one["notes"]
    ]
    return {
        "text": _headline(judged, counts["met"], counts["not-shown"], any(one["policies"] for one in sources))
        + _unproven(unproven),
        "sources": judged,
        "met": counts["met"],
        "missed": counts["missed"],
        "not_shown": counts["not-shown"],
        "not_judged": counts["not-judged"],
        "unproven": unproven,
        "exceptions": exceptions,
    }


def _headline(judged: int, met: int, not_shown: int, asked: bool) -> str:
    if not judged and asked:
        return "No source can be judged yet: word of this period may still be on its way."
    if not judged:
        return "No source can be judged: no policy asked for protection in this period."
    whose = "its" if judged == 1 else "their"
    text = f"{met} of {several(judged, 'source')} met {whose} objective in this period"
    if not_shown:
        text += f", {not_shown} {'more ' if met else ''}as far as is still known"
    return f"{text}."


def _unproven(groups: Sequence[str]) -> str:
    if not groups:
        return ""
    named = ", ".join(groups[:GROUPS_NAMED]) + (
        f" and {len(groups) - GROUPS_NAMED} more" if len(groups) > GROUPS_NAMED else ""
    )
    return f" Unproven at its end, as no drill shows that it can be had back: {named}."


def _drilled(proof: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(verdict, sentence) of a group whose drills ask for attention: unproven, or proven again after one failed."""
    failed = f"{proof['failed']} of {several(proof['made'], 'drill')} in this period failed"
    if proof["state"] in UNPROVEN:
        why = proof["reason"] or "no drill was made"
        yield "unproven", f"unproven: {why}" + (f"; {failed}" if proof["failed"] else "")
    elif proof["failed"]:
        yield "drill-failed", f"{failed}" + ("; a later one passed" if proof["state"] == PASSED else "")


def notes(source: Mapping[str, Any]) -> list[str]:
    """What a reader has to know of one source beside its verdict, each a sentence; empty when all is plain."""
    return list(_notes(source))


def _notes(source: Mapping[str, Any]) -> Iterator[str]:
    verdict, rpo, states = source["verdict"], source["rpo"], source["state_seconds"]
    if verdict == "not-judged":
        asked = bool(source["policies"])
        yield (
            "nothing of the period can be judged yet" if asked else "no policy asked for its protection in this period"
        )
    elif rpo is None:
        nothing = "" if source["in_journal"] else "; nothing of it has ever arrived"
        yield f"unprotected for all of the {span(states['unprotected'])} that a policy asked for it: no point{nothing}"
    else:
        if states["unprotected"] > rpo["objective_seconds"]:
            yield f"had no recovery point for the first {span(states['unprotected'])} that a policy asked for one"
        aim = objective(rpo["objective_seconds"])
        if verdict == "missed":
            yield (
                f"a loss could have cost {span(rpo['worst_seconds'])}, the objective is {aim}; "
                f"it was exceeded for {span(rpo['over_objective_seconds'])}"
            )
        if verdict == "not-shown":
            yield (
                f"the worst lies between {span(rpo['worst_seconds_at_least'])} and {span(rpo['worst_seconds'])}, the "
                f"objective is {aim}: merged segments no longer say when it was idle"
            )
    for gap in source["gaps"]:
        yield f"a gap of {span(gap['seconds'])} from {moment(gap['from'])}: {gap['reason'] or 'no reason given'}"


def limits(report: Mapping[str, Any], unreadable: Sequence[str]) -> list[str]:
    """What the report can't know, each a sentence."""
    return [*unreadable, *_limits(report)]


def _limits(report: Mapping[str, Any]) -> Iterator[str]:
    period, journal = report["period"], report["journal"]
    if period["from"] < journal["created_at"]:
        yield f"The journal began at {moment(journal['created_at'])}: nothing is known of the time before."
    if period["to"] < period["to_asked"]:
        yield f"The period was cut at {moment(period['to'])}, when the report was written."
    if not report["sources"]:
        yield "There is no source that the report could speak of."
    restores = [one for one in report["restores"] if not one["refused"]]
    if not restores and not any(one["passed"] for one in report["drills"]):
        yield "No restore was made in this period, no drill passed: nothing was shown to be recoverable by doing it."
    unproven = [one["group_name"] for one in report["proofs"] if one["state"] in UNPROVEN]
    if unproven:
        yield f"At the end of the period no drill shows that {', '.join(unproven)} can be had back."
    unverified = [one for one in restores if not one["verified"]]
    if unverified:
        yield f"{several(len(unverified), 'restore')} of {len(restores)} ended without a verification that succeeded."
    if not any(
        one["what"] != "drill" and (one["what"] != "check" or one["details"].get("read_data"))
        for one in report["verifications"]
    ):
        yield (
            "No check of the journal's data was recorded in this period: that the stored bytes are still what "
            "was stored is not shown here. The command bcsctl check --read-data shows it."
        )
    if any(
        one["rpo"] and one["rpo"]["worst_seconds_at_least"] < one["rpo"]["worst_seconds"] for one in report["sources"]
    ):
        yield (
            "Merged segments leave out watermarks that said little. Where a source may have been idle for longer than "
            "those that were kept say, two values are given: what is proved, and what is possible at least."
        )
    if any("open" in state["state"] for one in report["sources"] for state in one["timeline"]):
        yield "The last moments before the report are still open: word of them may be on its way."
    yield (
        "A gap that is still open stands in no journal: until the catch-up that closes it, it shows as exposure "
        "that grows. Times are site time; a host's measured offset to its node is part of them."
    )
