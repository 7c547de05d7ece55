"""Have restores recorded: their beginning and their end are acts in the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bcsctl.entries import path_json
from bcsctl.opening import Scene
from bcsctl.output import BAD, say
from bcsctl.settings import Settings
from engine.model.errors import BcsError

if TYPE_CHECKING:
    from engine.recovery.restoring import Prepared

BEGUN, ENDED = "restoring", "restore"
"""What the audit calls the beginning and the end of a restore."""


def record_of(where: Settings, there: Scene, what: str, told: Mapping[str, Any]) -> bool:
    """Have an act on a source recorded. What is restored stays so, recorded or not: then it is said."""
    return act(where, what, {"address": str(there.stream.address), "stream": there.stream.id, **told})


def act(where: Settings, what: str, details: Mapping[str, Any]) -> bool:
    """Have any act recorded; False, and said, when it could not be."""
    from engine.recovery.acts import record_act, who_acts

    try:
        record_act(where.home, what, who_acts(), details)
    except (OSError, BcsError) as error:
        say(f"the restore could not be recorded: {error}", BAD)
        return False
    return True


def record(where: Settings, there: Scene, prepared: Prepared, what: str, more: Mapping[str, Any]) -> bool:
    """`record_of` a restore to a directory or a stream."""
    from engine.recovery.told import point_json

    told = {**path_json(prepared.base), **point_json(prepared.point), **path_json(prepared.plan.target, "target")}
    return record_of(where, there, what, {**told, **more})
