"""From policy files and this machine to a plan: load, observe, resolve, compare. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.env.clock import SYSTEM
from engine.model.errors import Refused
from engine.plan.reconcile import Plan, diff
from engine.reconcile.expiry import with_points_removed
from engine.reconcile.load import Loaded, load, with_applied
from engine.reconcile.observe import observe
from engine.reconcile.paths import variables_of
from engine.reconcile.resolve import resolve


def make_plan(home: Path, paths: Sequence[Path], *, partial: bool = False, prune: bool = False) -> Plan:
    """What an apply of these files and directories would do to the embedded site at `home`.

    `partial` says that they are not the whole repository. A directory without a policy is no fault
    here but an empty set, which the guards refuse. Raises PolicyInvalid with every fault.
    """
    loaded = load(paths)
    if not loaded.files and all(path.is_dir() for path in paths):
        loaded = Loaded((), ())
    return plan_of(home, loaded, partial=partial, prune=prune)


def plan_of(home: Path, loaded: Loaded, *, partial: bool, prune: bool, base: int | None = None) -> Plan:
    """The same for documents that are loaded already. Refused when `base` is given and no longer the latest."""
    observed = observe(home)
    if base is not None and base != observed.number:
        raise Refused(
            f"the plan was made from apply {base}, but number {observed.number} is the latest",
            hint="make a new plan and look at it",
            details={"base": base, "latest": observed.number},
        )
    if partial and not prune and loaded.documents:
        # Documents that came from an apply carry no file: their faults would have no place to show.
        loaded = with_applied(loaded, observed.documents)
    desired = resolve(loaded, variables=variables_of(home))
    plan = diff(desired, observed, partial=partial, prune=prune)
    return with_points_removed(home, replace(plan, partial=partial and not prune), SYSTEM.now())
