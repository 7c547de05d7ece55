"""What a drill is asked to do, where it does it, and what its commands are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.model.policy.drills import CHECKSUMS, COMMAND, VERIFY, Check
from engine.plan.drills import GroupPolicy
from engine.recovery.drill.evidence import Evidence

Told = Callable[[str, int, int], None]
"""Hears what is done now, and how many bytes of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A drill that is to be made: the `drill`-th of the group's policy, None for one beside it. `moment` as `--at` has
    it, or `random`. `on_demand` says what becomes of trees that are used while they are cold: cancel, fill or verify;
    empty for a restore. `host` is the host whose agent makes it, empty for this machine."""

    id: str
    policy: GroupPolicy
    drill: int | None
    moment: str
    checks: tuple[Check, ...]
    scratch: str = ""
    on_demand: str = ""
    host: str = ""

    @property
    def commands(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.name == COMMAND)

    @property
    def afterwards(self) -> str:
        """What becomes of trees on demand: who asks for checksums asks to have all of it read back."""
        return VERIFY if any(check.name == CHECKSUMS for check in self.checks) else self.on_demand


def content_of(place: Path) -> Path:
    """Where in a drill's directory what came back lies, as HOST/SOURCE."""
    return place / "content"


def scene_of(asked: Asked, place: Path, evidence: Evidence) -> tuple[Path, dict[str, str]]:
    """(where commands run, what their environment says of the drill): in what came back of the only source, or in a
    directory with HOST/SOURCE of each."""
    content = content_of(place)
    if len(asked.policy.sources) == 1:
        [address] = asked.policy.sources
        content = content.joinpath(*address.split("/")[1:])
    of_drill = evidence.as_json()
    return content, {
        "BCS_DRILL_DIR": str(content),
        "BCS_DRILL_TMP": str(place / "tmp"),
        "BCS_DRILL_AT": of_drill["moment"] or asked.moment,
        "BCS_DRILL_GROUP": asked.policy.group,
        "BCS_DRILL_ID": asked.id,
    }
