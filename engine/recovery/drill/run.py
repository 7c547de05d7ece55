"""Make drills of a group, one after the other, and have each recorded: what the command line and a node's job call."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.env.clock import SYSTEM, Clock
from engine.env.endpoint import request_json
from engine.env.randomness import token_hex
from engine.journal import control
from engine.journal.open import Journal
from engine.model.errors import BcsError, NothingThere, Refused
from engine.model.policy.drills import APPLICATION, CHECKSUMS, COMMAND, LATEST, Check, Drill
from engine.plan.drills import BEGUN, ENDED, GroupPolicy, group_in
from engine.recovery.acts import record_act
from engine.recovery.drill import afar, place
from engine.recovery.drill.evidence import ROOM, Evidence, Row, for_audit
from engine.recovery.drill.rehearsal import Hands, rehearse
from engine.recovery.drill.scene import Asked, Told
from engine.recovery.word import Word, word_of

ID_BYTES = 8
COMMANDS = "commands"
"""What `--check` calls the commands of a group's policy."""
CHECKS = (CHECKSUMS, APPLICATION, COMMANDS)
LOOKED_BACK = 50
"""So many applied policies are read for the one that a group's policy came with."""


@dataclass(slots=True)
class Made:
    """A drill that was made; `recorded`: it is in the audit, or waits for it. `refused` why it could not be made."""

    evidence: Evidence
    recorded: bool = True
    refused: Refused | None = None

    def as_json(self) -> dict[str, Any]:
        return {**self.evidence.as_json(), "recorded": self.recorded}


@dataclass(frozen=True, slots=True)
class Scene:
    """Where drills are made, for whom, and who hears of it. `home` is BCS_HOME, `who` stands in the audit."""

    home: Path
    journal: Journal
    who: str
    hands: Hands = field(default_factory=Hands)
    clock: Clock = SYSTEM
    told: Told = field(default=lambda what, done, total: None)
    waiting: Callable[[str], None] = field(default=lambda group: None)
    wait_seconds: float = place.WAIT_SECONDS


def group_of(journal: Journal, group: str) -> GroupPolicy:
    """What the applied policies say of a group, with the number and commit of those that began to say so. NothingThere
    for one that they do not name, or that may not be known of here."""
    applied = control.latest(journal.store, control.POLICIES) or {}
    seen = journal.seen.policy(applied) if journal.seen else applied
    names = {address.split("/")[0] for address in seen.get("sources") or {}}
    if group not in names:
        known = f"groups are {', '.join(sorted(names))}" if names else "nothing is protected yet: see `bcsctl apply`"
        raise NothingThere(f"there is no group '{group}'", hint=known)
    found = group_in(applied, group)
    assert found is not None
    return _since(journal, found)


def _since(journal: Journal, policy: GroupPolicy) -> GroupPolicy:
    """The group's policy as it first came: later applies that did not touch it are no business of its evidence, nor of
    those who see this group alone. Without number and commit when that was too long ago."""
    found = replace(policy, number=0, commit="")
    for number in list(reversed(control.numbers(journal.store, control.POLICIES)))[:LOOKED_BACK]:
        before = group_in({**control.read(journal.store, control.POLICIES, number), "number": number}, policy.group)
        if before is None or before.digest != policy.digest:
            return found
        found = before
    return found if found.number == 1 else replace(policy, number=0, commit="")


def asked_of(
    policy: GroupPolicy, at: str | None = None, checks: Sequence[str] = (), on_demand: str = "", host: str = ""
) -> list[Asked]:
    """The drills that a group's policy declares, or one with what is usual where it has none; at another moment, with
    other checks, `on_demand`, with what becomes of the trees afterwards, or on another `host`, they are nobody's
    policy. `checks` are of CHECKS."""
    if at is None and not checks and not on_demand and not host:
        declared = [
            Asked(new_id(), policy, number, drill.restore, drill.checks, drill.scratch, drill.on_demand, drill.host)
            for number, drill in enumerate(policy.drills)
        ]
        return declared or [Asked(new_id(), policy, None, LATEST, (Check(CHECKSUMS),))]
    first = policy.drills[0] if policy.drills else Drill(0)
    usual = tuple(check for check in first.checks if not on_demand or check.name == COMMAND)
    chosen = _chosen(policy, checks) if checks else usual
    trees, there = on_demand or first.on_demand, host or first.host
    scratch = first.scratch if there == first.host else ""
    return [Asked(new_id(), policy, None, at or LATEST, chosen, scratch, trees, there)]


def _chosen(policy: GroupPolicy, names: Sequence[str]) -> tuple[Check, ...]:
    chosen: list[Check] = []
    for name in dict.fromkeys(names):
        if name != COMMANDS:
            chosen.append(Check(name))
            continue
        mine = [check for drill in policy.drills for check in drill.checks if check.name == COMMAND]
        if not mine:
            raise NothingThere(
                f"the policy of group '{policy.group}' has no command among its checks", hint="see its `drills`"
            )
        chosen += dict.fromkeys(mine)
    return tuple(chosen)


def new_id() -> str:
    return token_hex(ID_BYTES)


def make(scene: Scene, drills: Sequence[Asked]) -> list[Made]:
    """Make drills, each with its evidence recorded. Refused, and nothing is made, while another one runs for long."""
    with place.turn(scene.home, scene.clock, scene.wait_seconds, scene.waiting) as lock:
        return [_make(scene, asked, lock) for asked in drills]


def _make(scene: Scene, asked: Asked, lock: int) -> Made:
    group = asked.policy.group
    _record(scene, BEGUN, {"id": asked.id, "group": group, "drill": asked.drill, "asked": asked.moment})
    host = socket.gethostname()
    made: Made
    if asked.host:
        words = words_of(scene.home, asked.policy.sources)
        made = Made(afar.rehearse(scene.journal, asked, scene.home, words, scene.told, scene.clock))
        made.recorded = _record(scene, ENDED, for_audit(made.evidence.as_json()))
        return made
    try:
        with place.scratch(scene.home, asked.scratch, asked.id, group, lock) as directory:
            words = words_of(scene.home, asked.policy.sources)
            evidence = rehearse(scene.journal, asked, directory, host, words, scene.told, scene.hands, scene.clock)
        made = Made(evidence)
    except Refused as error:
        where = {"host": host, "dir": asked.scratch or str(place.directory(scene.home))}
        evidence = Evidence(asked.id, asked.policy, asked.drill, asked.moment, None, scene.clock.now(), where)
        evidence.checks.append(Row(ROOM, False, error.message))
        made = Made(evidence, refused=error)
    made.recorded = _record(scene, ENDED, for_audit(made.evidence.as_json()))
    return made


def words_of(home: Path, sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Word]:
    """The node's word on each source, by address; of none when it is not running."""
    try:
        status = request_json(home / "run" / "node.sock", "GET", "/v1/status")
    except BcsError:
        return {}
    rows = (row for group in status["groups"] for row in group["sources"])
    return {row["address"]: word_of(row) for row in rows if row["address"] in sources}


def _record(scene: Scene, what: str, details: Mapping[str, Any]) -> bool:
    """Have it recorded. What was found stands, recorded or not."""
    try:
        record_act(scene.home, what, scene.who, details, scene.clock)
    except (OSError, BcsError):
        return False
    return True
