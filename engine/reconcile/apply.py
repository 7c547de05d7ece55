"""Carries out a plan, site by site: the node first, then the policies, then the agents by Ansible, then the wait for
protection.

A host or source that fails is a row of the result, and the others go on. What makes the whole apply pointless, a
base that is no longer the latest or a node of this machine that does not start, is raised.
"""

from __future__ import annotations

from pathlib import Path

from engine.env.clock import SYSTEM, Clock
from engine.model.errors import BcsError, Refused
from engine.model.policy.site import EMBEDDED_SITE
from engine.plan.reconcile import Plan
from engine.plan.sites import part_of
from engine.reconcile import apply_embedded
from engine.reconcile.protection import Watched, await_protection, protected, rows_of
from engine.reconcile.provenance import Provenance
from engine.reconcile.results import ApplyResult, OnProgress, Result, SiteResult, SourceProgress, Step


def apply(
    home: Path,
    plan: Plan,
    origin: Provenance,
    *,
    wait: bool = False,
    wait_seconds: float | None = None,
    on_progress: OnProgress | None = None,
    clock: Clock = SYSTEM,
) -> ApplyResult:
    """Make `plan` so.

    With `wait`, return once every source is restorable and up to date, or has failed, or `wait_seconds` are over.
    Raises Refused when another apply came first, Failed when the node of this machine does not start.
    """
    tell = on_progress or (lambda progress: None)
    patience = wait_seconds if wait else None
    done = {site: _apply_site(home, site, plan, origin, tell, clock, patience) for site in plan.bases}
    results = [result for each in done.values() for result in each.results]
    ends_at = clock.monotonic() + wait_seconds if wait_seconds is not None else None
    all_protected = True
    for site, each in done.items():
        if not each.answers:
            all_protected &= site == EMBEDDED_SITE and not each.again
            continue
        watched = _watched(home, site)
        if wait and not each.again:
            results += _awaited(watched, each, ends_at, tell, clock)
        all_protected &= _all_protected(watched)
    return ApplyResult(
        {site: each.number for site, each in done.items()},
        tuple(results),
        all_protected and all(result.ok for result in results),
        any(each.again for each in done.values()),
    )


def _apply_site(
    home: Path, site: str, plan: Plan, origin: Provenance, tell: OnProgress, clock: Clock, wait_seconds: float | None
) -> SiteResult:
    part = part_of(plan.desired, site)
    if site == EMBEDDED_SITE:
        return apply_embedded.apply_embedded(home, plan, part, origin, tell, clock)
    from engine.reconcile.apply_site import apply_site

    try:
        return apply_site(home, site, plan, part, origin, tell, clock, wait_seconds)
    except Refused:
        raise
    except BcsError as error:  # what is to be done at other sites does not depend on this one
        return SiteResult(plan.bases[site], (Result("Site", site, "failed", False, error.message, error.hint, site),))


def _watched(home: Path, site: str) -> Watched:
    if site == EMBEDDED_SITE:
        return apply_embedded.watched(home)
    from engine.reconcile import apply_site

    return apply_site.watched(site)


def _awaited(watched: Watched, done: SiteResult, ends_at: float | None, tell: OnProgress, clock: Clock) -> list[Result]:
    """The rows of a site's sources; of this machine's none where its node or agent could not be started."""
    if watched.site == EMBEDDED_SITE and not all(result.ok for result in done.results):
        return []
    try:
        return list(await_protection(watched, done.lost, ends_at, tell, clock))
    except BcsError as error:
        if watched.site == EMBEDDED_SITE:
            raise
        return [Result("Site", watched.site, "failed", False, error.message, error.hint, watched.site)]


def _all_protected(watched: Watched) -> bool:
    try:
        return all(protected(row) for row in rows_of(watched.endpoint).values())
    except BcsError:
        if watched.site == EMBEDDED_SITE:
            raise
        return False


__all__ = ["ApplyResult", "OnProgress", "Result", "SourceProgress", "Step", "apply"]
