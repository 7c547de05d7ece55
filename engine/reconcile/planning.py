"""From policy files and what there is to a plan: load, observe each site, resolve, compare. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.env.clock import SYSTEM
from engine.model.errors import Refused
from engine.model.policy.resolved import PolicySet
from engine.model.policy.site import EMBEDDED_SITE, Site
from engine.plan.observed import Observed
from engine.plan.reconcile import Plan, diff, merged
from engine.plan.sites import cannot_carry_out, part_of, refuse_to_move, sites_of
from engine.reconcile.expiry import with_points_removed
from engine.reconcile.hosts import inventory_of, resolver
from engine.reconcile.load import Loaded, load, with_applied
from engine.reconcile.observe import observe
from engine.reconcile.paths import variables_of
from engine.reconcile.resolve import resolve


@dataclass(frozen=True, slots=True)
class Scope:
    """What of a repository a plan is about. `site` is meant by documents that name none; `inventories` are paths by
    site, for those whose documents come from no file, and `folders` where such are looked for. `readmit` are hosts
    that are let in again though their certificates were revoked. `directories`: no file was named by itself."""

    partial: bool = False
    prune: bool = False
    site: str = ""
    folders: tuple[Path, ...] = ()
    inventories: Mapping[str, str] | None = None
    readmit: Collection[str] = ()
    directories: bool = False


_STAYING_SHOWN = 5


def make_plan(
    home: Path,
    paths: Sequence[Path],
    *,
    partial: bool = False,
    prune: bool = False,
    site: str = "",
    readmit: Collection[str] = (),
) -> Plan:
    """What an apply of these files and directories would do, to the embedded site at `home` and to all others.

    `partial` says that they are not the whole repository; `site` is then meant where they name none. A directory
    without a policy is no fault here but an empty set, which the guards refuse. Raises PolicyInvalid with every fault.
    """
    loaded = load(paths)
    if not loaded.files and all(path.is_dir() for path in paths):
        loaded = Loaded((), ())
    folders = tuple(path if path.is_dir() else path.parent for path in paths)
    directories = partial and all(path.is_dir() for path in paths)
    return plan_of(home, loaded, Scope(partial, prune, site, folders, readmit=readmit, directories=directories))


def plan_of(home: Path, loaded: Loaded, scope: Scope, *, bases: Mapping[str, int] | None = None) -> Plan:
    """The same for documents that are loaded already. Refused when `bases` are given and no longer the latest."""
    observed = {name: observe_one(home, name) for name in _concerned(home, loaded, scope)}
    for name, base in (bases or {}).items():
        _refuse_late(base, observed[name].number if name in observed else 0)
    held = loaded.known
    if scope.partial and not scope.prune and loaded.documents:
        # Documents that came from an apply carry no file: their faults would have no place to show.
        for each in observed.values():
            loaded = with_applied(loaded, each.documents)
    inventories = _inventories(loaded, scope)
    variables = variables_of(home)
    desired = resolve(loaded, variables=variables, resolve_hosts=resolver(loaded), inventories=inventories)
    plan = _compared(desired, observed, scope)
    if scope.directories:
        plan = replace(plan, passed_over=(*plan.passed_over, *_staying(loaded.known - held)))
    return with_points_removed(home, replace(plan, partial=scope.partial and not scope.prune), SYSTEM.now())


def _staying(keys: Collection[str]) -> Iterator[str]:
    """Of a directory people think that it is all there is: what was applied, is not in it, and stays."""
    if keys:
        names = sorted(key.replace("/", " ", 1) for key in keys)
        more = f" and {len(names) - _STAYING_SHOWN} more" if names[_STAYING_SHOWN:] else ""
        yield (
            f"not in PATHS, and stays as applied: {', '.join(names[:_STAYING_SHOWN])}{more}; "
            "--prune removes it, as does an apply in the repository without PATHS"
        )


def _concerned(home: Path, loaded: Loaded, scope: Scope) -> list[str]:
    """The sites to look at, the embedded one first."""
    otherwise = _otherwise(home, scope) if scope.partial else EMBEDDED_SITE
    names = site_names(loaded, otherwise) or {otherwise}
    deployed = deployed_site(home)
    if deployed and EMBEDDED_SITE in names and loaded.documents:
        raise Refused(
            f"{home} is the home of the node of site {deployed}, not of this machine's own site",
            hint="name another with --home or BCS_HOME",
        )
    if not scope.partial and not deployed and observe(home).number:
        # The whole repository says what this machine's own site has too: that its groups have gone, for one.
        names |= {EMBEDDED_SITE}
    return sorted(names, key=lambda name: (name != EMBEDDED_SITE, name))


def _otherwise(home: Path, scope: Scope) -> str:
    """The site that a part of a repository is for which names none: as for every command that is about one."""
    if scope.site or (home / "journal").is_dir():
        return scope.site or EMBEDDED_SITE
    from engine.env import credentials

    known = credentials.sites()
    return known[0] if len(known) == 1 else EMBEDDED_SITE


def observe_one(home: Path, site: str) -> Observed:
    """The embedded site at `home`, or another, asked of its node."""
    if site == EMBEDDED_SITE:
        return observe(home)
    # Speaking TLS costs start-up time that plans for this machine need not pay.
    from engine.reconcile.observe_site import observe_site

    return observe_site(site)


def site_names(loaded: Loaded, otherwise: str) -> set[str]:
    """The sites that documents declare, or that groups are to be at, by themselves, by the Defaults, or `otherwise`."""
    specs = [(placed.document.kind, placed.document.name, placed.document.raw["spec"]) for placed in loaded.documents]
    declared = {name for kind, name, _ in specs if kind == "Site"}
    inherited = {spec["site"] for kind, _, spec in specs if kind == "Defaults" and "site" in spec}
    default = next(iter(inherited), otherwise)
    return declared | inherited | {spec.get("site", default) for kind, _, spec in specs if kind == "ProtectionGroup"}


def deployed_site(home: Path) -> str:
    """The site whose node was deployed to this home; empty for a home of the embedded site."""
    try:
        value = json.loads((home / "node" / "node.json").read_bytes())
    except (OSError, ValueError):
        return ""
    name = value.get("site") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name != EMBEDDED_SITE else ""


def _refuse_late(base: int, latest: int) -> None:
    if base != latest:
        raise Refused(
            f"the plan was made from apply {base}, but number {latest} is the latest",
            hint="make a new plan and look at it",
            details={"base": base, "latest": latest},
        )


def _inventories(loaded: Loaded, scope: Scope) -> dict[str, str]:
    """Where the inventories are of sites whose documents come from no file."""
    found = dict(scope.inventories or {})
    for placed in loaded.documents:
        spec: Mapping[str, Any] = placed.document.raw["spec"]
        if placed.document.kind == "Site" and not placed.document.file and "inventory" in spec:
            found.setdefault(placed.document.name, inventory_of(spec["inventory"], scope.folders))
    return found


def _compared(desired: PolicySet, observed: Mapping[str, Observed], scope: Scope) -> Plan:
    """The plan over all sites that were looked at."""
    sites = {site.name: site for site in desired.sites}
    plans: list[Plan] = []
    refused: list[str] = []
    passed_over: list[str] = []
    let_in: set[str] = set()
    concerned = sites_of(desired) if scope.partial else observed
    for name, there in observed.items():
        if name not in concerned:
            continue  # documents that name no site were found to be another's, by what was applied before
        part = part_of(desired, name)
        why = cannot_carry_out(sites[name]) if name in sites else ""
        if why:
            # A site that groups merely copy to, or recover at, stands in the way of a whole repository only.
            if part.groups or not scope.partial:
                refused.append(f"site {name} can't be carried out: {why}")
            else:
                passed_over.append(f"site {name}: {why}, so nothing is done or copied there")
            continue
        if name in sites:
            refuse_to_move(sites[name], there.documents)
            there = _letting_in(replace(there, settings=_settings(sites[name])), scope.readmit)
            let_in |= there.readmitted
        plans.append(diff(part, there, partial=scope.partial, prune=scope.prune))
    if not any(plan.unknown for plan in plans):
        passed_over += (
            f"{host}: --readmit has nothing to do, nobody revoked its certificate while policies name it"
            for host in sorted({*scope.readmit} - let_in)
        )
    plan = merged(plans, desired, refused)
    return replace(plan, passed_over=(*plan.passed_over, *passed_over))


def _letting_in(observed: Observed, readmit: Collection[str]) -> Observed:
    """As if the hosts of `readmit` whose certificates were revoked had no agent yet."""
    out = frozenset(host for host, seen in observed.agents.items() if not seen.let_in and host in readmit)
    agents = {host: seen for host, seen in observed.agents.items() if host not in out}
    return replace(observed, agents=agents, readmitted=out)


def _settings(site: Site) -> str:
    # Ansible's side of things is loaded only where there are hosts to deploy to.
    from engine.deploy.agents import settings_digest

    return settings_digest(site)


def inventories_of(sites: Iterable[Site]) -> dict[str, str]:
    """{site: absolute path of its inventory}."""
    return {site.name: str(Path(site.inventory).absolute()) for site in sites if site.inventory}
