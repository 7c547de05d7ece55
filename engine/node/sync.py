"""How the GitOps loop goes that keeps this site in step with git. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from engine.model.times import format_time

STATES = ("synced", "applied", "healed", "failed")


@dataclass(frozen=True, slots=True)
class Sync:
    """The last round that a loop reported, as the node heard it. Times in microseconds.

    `state` is one of STATES; `drift` counts rounds that brought back what had changed under the policies.
    """

    heard_at: int
    state: str
    commit: str = ""
    message: str = ""
    failing_since: int | None = None
    rounds: int = 1
    drift: int = 0
    failures: int = 0

    def as_json(self) -> dict[str, object]:
        since = format_time(self.failing_since) if self.failing_since is not None else None
        return {
            "heard_at": format_time(self.heard_at), "state": self.state, "commit": self.commit or None,
            "message": self.message, "failing_since": since,
            "rounds": self.rounds, "drift": self.drift, "failures": self.failures,
        }  # fmt: skip
