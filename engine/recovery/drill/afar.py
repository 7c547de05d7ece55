"""A drill on a host of the site: its agent brings the group back there, and checks it there; the node has the evidence.

Everything is asked of the node that runs here: it sends to the host what the policy that holds says, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.env.clock import Clock
from engine.env.endpoint import request_json
from engine.journal.open import Journal
from engine.model.errors import BcsError, Failed
from engine.model.policy.drills import COMMAND, LATEST
from engine.model.times import SECOND, format_time
from engine.query.session import Session
from engine.recovery.drill import evidence as found
from engine.recovery.drill.evidence import COMMAND as COMMAND_ROW
from engine.recovery.drill.evidence import HOST, Evidence, Row
from engine.recovery.drill.host_word import DONE, FAILED, OPEN, counts_of, mechanisms_of, rows_of
from engine.recovery.drill.rehearsal import HEARSAY
from engine.recovery.drill.scene import Asked, Told
from engine.recovery.drill.sources import answering, moment_of, restored
from engine.recovery.drill.vouched import vouched
from engine.recovery.word import Word

WAIT_SECONDS = 5.0
SILENT_SECONDS = 60.0
"""A host that says nothing of its drill for so long makes it no more."""


def rehearse(
    journal: Journal, asked: Asked, home: Path, words: Mapping[str, Word], told: Told, clock: Clock
) -> Evidence:
    """The evidence of one drill, made by the agent of `asked.host`. NothingThere for a moment of nobody's policy that
    is not there; whatever else goes wrong is a row."""
    began, now = clock.monotonic(), clock.now()
    where = {"host": asked.host, "dir": asked.scratch or "its agent's own"}
    with Session(journal) as session:
        evidence = Evidence(asked.id, asked.policy, asked.drill, asked.moment, None, now, where)
        told("looking", 0, 0)
        moment = moment_of(session, asked, now)
        evidence.moment = now if asked.moment == LATEST else moment.at
        ready = list(answering(journal, session, asked, moment, words, now, evidence))
        may = vouched(journal, asked.policy)
        checks = [check for check in asked.checks if may or check.name != COMMAND]
        body = {
            "id": asked.id,
            "group": asked.policy.group,
            "host": asked.host,
            "digest": asked.policy.digest,
            "scratch": asked.scratch,
            "on_demand": asked.afterwards if asked.on_demand else "",
            "at": format_time(evidence.moment) if evidence.moment is not None else asked.moment,
            "checks": [check.as_json() for check in checks],
            "parts": [
                {"address": address, "stream": stream.id, "position": str(point.position), "at": point.at,
                 "class": point.point_class}
                for address, stream, point in ready
            ],
        }  # fmt: skip
        try:
            answer = _made(home / "run" / "node.sock", body, told, clock) if ready else {}
        except BcsError as error:
            answer = {}
            evidence.checks.append(Row(HOST, False, error.message))
        outcome = answer.get("answer") or {}
        counts = counts_of(outcome)
        for number, (address, stream, point) in enumerate(ready):
            if number in counts:
                *of_all, seconds = counts[number]
                word = words.get(address, Word())
                source = (session, address, stream.id, point, (of_all[0], of_all[1], of_all[2]))
                evidence.sources.append(restored(*source, seconds, word, evidence.moment))
        evidence.checks += rows_of(outcome, [address for address, _, _ in ready])
        refused = [check for check in asked.checks if check not in checks]
        why = "nobody who may apply policies gave this site the command: change the policy, and apply it"
        evidence.checks += [Row(COMMAND_ROW, False, why, command=str(check.command)) for check in refused]
    if asked.on_demand:
        _tell_cold(evidence, asked, answer, outcome, now)
    if answer.get("restored_at") and len(ready) == len(asked.policy.sources):
        evidence.rto_seconds = round((answer["restored_at"] - now) / SECOND, 3)
    evidence.checks += found.objectives(evidence, HEARSAY)
    evidence.seconds = clock.monotonic() - began
    return evidence


def _tell_cold(
    evidence: Evidence, asked: Asked, answer: Mapping[str, Any], outcome: Mapping[str, Any], began_at: int
) -> None:
    """How the trees were used while they were cold; a host whose agent knows no such drill has restored them."""
    usable = answer.get("usable_at")
    evidence.on_demand = {
        "mechanisms": mechanisms_of(outcome),
        "usable_seconds": round((usable - began_at) / SECOND, 3) if usable else None,
        "afterwards": asked.afterwards,
    }
    if outcome and "mechanisms" not in outcome and counts_of(outcome):
        why = f"the agent of {asked.host} knows no drill on demand: `bcsctl apply` brings it a newer program"
        evidence.checks.append(Row(HOST, False, why))


def _made(socket: Path, body: Mapping[str, Any], told: Told, clock: Clock) -> dict[str, Any]:
    """Have it made; how it ended, as the node has it. Failed when it broke off, or its host fell silent."""
    now = request_json(socket, "POST", "/v1/drills", body)
    path = f"/v1/drills/{now['id']}"
    try:
        heard, silent_at = now["heard_at"], clock.monotonic() + SILENT_SECONDS
        while now["state"] == OPEN:
            told(f"{now['host']}: {now['phase']}", now["bytes"], 0)
            now = request_json(socket, "GET", f"{path}?version={now['version']}&wait={WAIT_SECONDS:g}")
            if now["heard_at"] != heard:
                heard, silent_at = now["heard_at"], clock.monotonic() + SILENT_SECONDS
            elif clock.monotonic() > silent_at and now["state"] == OPEN:
                raise Failed(f"{now['host']} has said nothing of its drill for {SILENT_SECONDS:g} s")
    except BaseException:
        _cancel(socket, path)
        raise
    if now["state"] == DONE:
        return now
    answer = now.get("answer") or {}
    text = answer.get("message") or "it broke off"
    raise Failed(f"{now['host']}: {text}" if now["state"] == FAILED else str(text))


def _cancel(socket: Path, path: str) -> None:
    try:
        request_json(socket, "POST", f"{path}/cancel", {})
    except BcsError:
        pass  # the node ends what nobody asks for
