"""Which commands of policies this site was given by somebody who may apply policies.

The store is untrusted, and applied policies lie in it. Who can write to it must not have a node run commands: so the
node that takes policies over vouches, under the site's key, for what they say of each group whose drills have any.
`control/drills/<digest>/00000001.json` is that word; it holds for the very same policy of the group whenever that
returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from engine.journal import sealed
from engine.journal.open import Journal
from engine.model.errors import Damaged
from engine.model.policy.drills import COMMAND
from engine.plan.drills import GroupPolicy, groups_in
from engine.store.base import AlreadyThere, Missing

PREFIX = "control/drills/"
_ONLY = 1


def vouch(journal: Journal, applied: Mapping[str, Any]) -> None:
    """Vouch for the commands of policies that are being applied, durably. Idempotent."""
    for policy in groups_in(applied).values():
        if has_commands(policy):
            with suppress(AlreadyThere):
                sealed.put_number(journal, _prefix(policy), _ONLY, {"group": policy.group})


def vouched(journal: Journal, policy: GroupPolicy) -> bool:
    """Whether this site was given the commands of the policy, or there are none."""
    if not has_commands(policy):
        return True
    try:
        sealed.get(journal, _prefix(policy), _ONLY)
    except (Missing, Damaged):
        return False
    return True


def has_commands(policy: GroupPolicy) -> bool:
    return any(check.name == COMMAND for drill in policy.drills for check in drill.checks)


def _prefix(policy: GroupPolicy) -> str:
    return f"{PREFIX}{policy.digest}/"
