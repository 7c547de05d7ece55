"""Is the history of a source what stands on its disk now? A restore in place compares with that, and with nothing else.

While nobody captures, history and disk differ in ways that nobody knows: "nothing differs" would be said of zeros.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bcsctl.node_client import get
from bcsctl.settings import Settings
from engine.fill.life.recoveries import CUT_OFF, recoveries
from engine.model.errors import NotAuthorised, Refused, Unreachable
from engine.recovery.word import SILENCE

STATUS_HINT = "`bcsctl status` shows when it is complete; a restore to an empty directory with --to can be had now"


def refuse_unless_current(where: Settings, addresses: Collection[str]) -> None:
    """Refused while the source that has one of these addresses is recovered on demand, or is not known up to now. Where
    the node does not say, nothing is known of it, and nothing said: there is no mark then, and so no restore."""
    try:
        rows = [row for group in get(where, "/v1/status")["groups"] for row in group["sources"]]
    except (Unreachable, NotAuthorised):
        rows = []
    found = next((row for row in rows if row["address"] in addresses), None)
    paths = [str(path) for path in found["paths"]] if found else []
    if where.site is None:
        _refuse_while_filling(where, addresses, paths)
    if found is not None and (why := _why_not_current(found)):
        raise Refused(f"the history of {found['address']} is not what is on the disk now: {why}", hint=STATUS_HINT)


def _refuse_while_filling(where: Settings, addresses: Collection[str], paths: Sequence[str]) -> None:
    for each in recoveries(where.home):
        place = each.recipe.dir
        own = each.recipe.address in addresses and place == each.recipe.base
        if not each.living or each.word == CUT_OFF or not (own or any(_touch(place, path) for path in paths)):
            continue
        id = each.recipe.id
        hint = f"`bcsctl recover finish {id}` fills the rest; then what differs can be brought back"
        if not each.guarded:
            hint = f"`bcsctl recover resume {id}` guards it again; {hint}"
        raise Refused(f"recovery {id} still fills {place}: {each.word}", hint=hint, details={"recoveries": [id]})


def _why_not_current(row: Mapping[str, Any]) -> str:
    if row["healthy"] in SILENCE:
        return SILENCE[row["healthy"]]
    if row["gap_open_since"] is not None or row["state"] in ("opening", "catching-up", "baseline"):
        return str(row["message"] or row["gap_open_reason"] or "its agent is catching up")
    return ""


def _touch(left: str, right: str) -> bool:
    left, right = (os.path.join(os.path.realpath(path), "") for path in (left, right))
    return left.startswith(right) or right.startswith(left)
