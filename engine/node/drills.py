"""The drills of a node: what is known of them, what that makes of each group, and the job that makes those due.

A drill is a process of its own (`engine.recovery.drill.process`), one at a time. What is known is the audit's: read
from the journal when the node starts, then heard act by act. So a node that starts again makes none twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import engine
from engine.env.clock import Clock
from engine.fill.life.recoveries import recoveries
from engine.journal import control
from engine.journal.open import Journal
from engine.model.errors import BcsError
from engine.model.times import HOUR, MINUTE, SECOND, format_time
from engine.node.commands import environment
from engine.node.log import WARNING, log
from engine.plan import drills as plan
from engine.plan.drills import NONE, GroupPolicy, Known, Standing
from engine.query.drills import known_drills
from engine.query.session import Session
from engine.recovery.drill import place

WHO = "node"
AGAIN_AFTER = MINUTE
"""A process that ended without a drill made is started again after this long."""
STOP_SECONDS = 1.5
RESTORE_BEGUN, RESTORE_ENDED = "restoring", "restore"
RESTORING_MOST = HOUR
"""A restore on this machine of which the end was not heard holds drills up for no longer than this."""


class Drills:
    """Safe to call from any thread. `begin` reads what is known; `work` is one round of the job."""

    def __init__(
        self, home: Path, journal: Journal, root: Path, master_key: bytes, clock: Clock, key_file: Path | None = None
    ) -> None:
        """`key_file` holds the master key, for those who fill trees on demand."""
        self._home, self._journal, self._clock, self._key_file = home, journal, clock, key_file
        self._root, self._master_key = root, master_key
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._policies: dict[str, GroupPolicy] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._made: tuple[str, int] | None = None
        self._not_before: dict[tuple[str, int], int] = {}
        self._cleaned = False
        self._restoring: dict[tuple[str, str], int] = {}
        self._held_since: dict[str, tuple[str, int]] = {}

    def begin(self) -> None:
        """Take up what the journal has: the policies that hold, and the drills that were made. Where these can't be
        read they are made anew: agents are served all the same."""
        self.take(control.latest(self._journal.store, control.POLICIES))
        try:
            with Session(self._journal) as session:
                known = known_drills(session)
        except BcsError as error:
            log(f"which drills were made is not known: {error.message}", self._clock, level=WARNING)
            known = {}
        with self._lock:
            self._known = known

    def take(self, applied: Mapping[str, Any] | None) -> None:
        """Other policies hold."""
        policies, now = plan.groups_in(applied or {}), self._clock.now()
        with self._lock:
            self._policies = policies
            known = self._held_since
            self._held_since = {
                group: known[group] if group in known and known[group][0] == policy.digest else (policy.digest, now)
                for group, policy in policies.items()
            }

    def heard_act(self, what: str, who: str, details: Mapping[str, Any], at: int) -> None:
        """An act is in the audit."""
        with self._lock:
            plan.take(self._known, what, details, at, who)
            if what in (RESTORE_BEGUN, RESTORE_ENDED):
                self._restoring.pop(_restore_of(details), None)
                if what == RESTORE_BEGUN:
                    self._restoring[_restore_of(details)] = at

    def standing(self, group: str) -> Standing:
        """What the drills make of a group."""
        with self._lock:
            policy = self._policies.get(group)
            return plan.standing(policy, self._of(group), self._clock.now()) if policy else Standing(NONE)

    def as_json(self, group: str) -> dict[str, Any]:
        """A group's drills, for its status: {state, reason, since, next_at, running, overdue, last}; of `last` as
        `_last_json`."""
        found = self.standing(group)
        with self._lock:
            policy, known = self._policies.get(group), self._of(group)
            due = [plan.next_at(policy, known, at) for at in range(len(policy.drills))] if policy else []
            last = known.last
            runs = self._made is not None and self._made[0] == group
            _, since = self._held_since.get(group, ("", self._clock.now()))
            overdue = policy is not None and plan.overdue(policy, found, since, self._clock.now())
        return {
            "state": found.state,
            "reason": found.reason,
            "since": format_time(found.since) if found.since else None,
            "next_at": format_time(max(min(due), self._clock.now())) if due else None,
            "running": runs,
            "overdue": overdue,
            "last": _last_json(last) if last else None,
        }

    def work(self, since: Callable[[str], int], ready: Callable[[str], bool], held_up: Callable[[], bool]) -> str:
        """One round: end the process that is done, begin the drill that is due; the group of that, or empty.

        `since` and `ready` are as `engine.plan.drills.due` has them; while `held_up` none begins.
        """
        if not self._cleaned:
            place.remove_dead(self._home)
            self._cleaned = True
        if self._still_running():
            return ""
        now = self._clock.now()
        with self._lock:
            policies, known = dict(self._policies), dict(self._known)
            waiting = [
                each
                for each in plan.due(policies.values(), known, since, ready, now)
                if self._not_before.get((each.group, each.drill), 0) <= now
            ]
        if not waiting or held_up() or self._recovering() or place.running(self._home):
            return ""
        first = waiting[0]
        self._start(policies[first.group], first.drill)
        log(f"a drill of {first.group} begins: {first.why}", self._clock)
        return first.group

    def stop(self) -> None:
        """End the drill that runs. What it leaves, if it has to be killed, the next start removes."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            with suppress(BcsError, OSError):
                place.remove_dead(self._home)  # no filler of a drill outlives its node

    def last(self) -> dict[str, plan.Result]:
        """The last drill of each group that the policies name, for the metrics."""
        with self._lock:
            found = {group: self._of(group).last for group in self._policies}
        return {group: result for group, result in found.items() if result is not None}

    def groups(self) -> list[str]:
        with self._lock:
            return sorted(self._policies)

    def _of(self, group: str) -> Known:
        return self._known.get(group) or Known()

    def _recovering(self) -> bool:
        """Whether somebody brings something back on this machine: that goes first."""
        now = self._clock.now()
        with self._lock:
            self._restoring = {key: at for key, at in self._restoring.items() if now - at < RESTORING_MOST}
            if self._restoring:
                return True
        try:
            found = recoveries(self._home)
        except (BcsError, OSError):
            return False  # what can't be read is being made, or removed
        return any(each.living and each.guarded and not each.wanted.paused for each in found)

    def _still_running(self) -> bool:
        process = self._process
        if process is None:
            return False
        code = process.poll()
        if code is None:
            return True
        self._process = None
        with self._lock:
            made, self._made = self._made, None
        if made is not None and code:
            self._not_before[made] = self._clock.now() + AGAIN_AFTER
            log(f"the process of a drill of {made[0]} ended with {code}", self._clock, level=WARNING)
        return False

    def _start(self, policy: GroupPolicy, drill: int) -> None:
        task = {
            "home": str(self._home),
            "journal": str(self._root),
            "master_key": self._master_key.hex(),
            "key_file": str(self._key_file or ""),
            "group": policy.group,
            "drill": drill,
            "digest": policy.digest,
            "who": WHO,
            "parent": os.getpid(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.recovery.drill.process", "drill"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**environment(self._home, ""), "PYTHONPATH": str(Path(engine.__file__).parents[1])},
            cwd="/",
            start_new_session=True,
        )
        self._process = process
        with self._lock:
            self._made = (policy.group, drill)
        assert process.stdin
        try:
            with process.stdin as pipe:
                pipe.write(json.dumps(task).encode())
        except BrokenPipeError:
            pass  # it died at once: its exit code says so


def _restore_of(details: Mapping[str, Any]) -> tuple[str, str]:
    return str(details.get("address")), str(details.get("target"))


def _last_json(last: plan.Result) -> dict[str, Any]:
    return {
        "id": last.id,
        "drill": last.drill,
        "at": format_time(last.at),
        "passed": last.passed,
        "reason": last.reason,
        "by": last.by,
        "seconds": (last.at - last.began_at) / SECOND,
        "rto_seconds": last.rto_seconds,
        "rpo_seconds": last.rpo_seconds,
    }
