"""The GitOps loop's memory: what each round came to, what is drift, since when it fails. Pure but for the clock's time.

A round is `applied` when a new commit changed something, `healed` when things had drifted from a commit that was
applied before and were brought back, `synced` when nothing was to be done, and `failed` otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engine.model.errors import BcsError
from engine.model.times import format_time

SYNCED, APPLIED, HEALED, FAILED = "synced", "applied", "healed", "failed"


@dataclass(frozen=True, slots=True)
class Round:
    """`at` in microseconds; `changes` is how many things the plan held; `failing_since` None unless it failed.

    `commit` is what was applied, empty outside of a repository; `message` and `hint` say why it failed.
    """

    at: int
    state: str
    commit: str = ""
    changes: int = 0
    message: str = ""
    hint: str = ""
    failing_since: int | None = None

    def as_json(self) -> dict[str, Any]:
        since = format_time(self.failing_since) if self.failing_since is not None else None
        return {**asdict(self), "at": format_time(self.at), "failing_since": since}


def done(before: Round | None, at: int, commit: str, changes: int, failures: int) -> Round:
    """The round of an apply that ended; `failures` counts its hosts and sources that went wrong."""
    if failures:
        many = "1 thing" if failures == 1 else f"{failures} things"
        return _failed(before, at, commit, changes, f"{many} could not be applied", "the lines above say which and why")
    seen = before is not None and before.commit == commit
    return Round(at, SYNCED if not changes else HEALED if seen else APPLIED, commit, changes)


def stopped(before: Round | None, at: int, commit: str, error: BcsError) -> Round:
    """The round that ended with an error, whose commit, if one was reached, was not or not wholly applied."""
    return _failed(before, at, commit or (before.commit if before else ""), 0, error.message, error.hint)


def worth_a_line(before: Round | None, now: Round) -> bool:
    """Whether people want to read of it: the first one, whatever changed something, and a failure once."""
    if before is None or now.state in (APPLIED, HEALED):
        return True
    return (before.state == FAILED, before.message) != (now.state == FAILED, now.message)


def _failed(before: Round | None, at: int, commit: str, changes: int, message: str, hint: str) -> Round:
    since = before.failing_since if before is not None and before.failing_since is not None else at
    return Round(at, FAILED, commit, changes, message, hint, since)
