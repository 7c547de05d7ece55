"""What an apply would do, and whether it may: pure decisions over desired and observed state.

`diff` only decides; `check_guards` refuses; something else executes. A second plan after an apply is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.model.errors import Refused
from engine.model.policy.documents import KINDS
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.site import EMBEDDED_SITE
from engine.plan import processes
from engine.plan.actions import CREATE, REMOVE, START, UPDATE, UPGRADE, Action, changed_fields
from engine.plan.observed import Observed
from engine.plan.retention import shortens

STOPPED_SHARE_MAX = 5
"""A plan may stop one source in this many without a typed confirmation."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What would destroy. `stops` and `shortens` are addresses, `total` how many sources were applied; `needed` says
    that it must be confirmed."""

    stops: tuple[str, ...] = ()
    shortens: tuple[str, ...] = ()
    needed: bool = False
    reason: str = ""
    total: int = 0

    @property
    def sources(self) -> int:
        """How many sources the plan touches: the number to confirm."""
        return len({*self.stops, *self.shortens})


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order of execution. `bases` are, by site, the control numbers the plan was made from; `desired` is
    what it leads to; `partial` that it covers a part of the repository, and so may remove nothing.

    `records` are the sites where policies are to be recorded, `unknown` those whose node does not answer: what else is
    to be done there shows once it does. `passed_over` says of hosts why nothing is done for them, `refused` of sites
    why the plan can't be applied.
    """

    actions: tuple[Action, ...]
    unchanged: int
    guard: Guard
    bases: Mapping[str, int]
    desired: PolicySet
    partial: bool = False
    records: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def noop(self) -> bool:
        return not self.actions

    @property
    def base(self) -> int:
        """Of the embedded site, or of the first where that has no part in it."""
        return self.bases.get(EMBEDDED_SITE, next(iter(self.bases.values()), 0))

    @property
    def removed(self) -> tuple[str, ...]:
        """What it removes, as `KIND NAME`."""
        return tuple(f"{action.kind} {action.name}" for action in self.actions if action.action == REMOVE)

    @property
    def summary(self) -> dict[str, int]:
        counts = dict.fromkeys((CREATE, UPDATE, REMOVE, START, UPGRADE), 0)
        for action in self.actions:
            counts[action.action] += 1
        return {**counts, "unchanged": self.unchanged}

    def of(self, site: str) -> tuple[Action, ...]:
        """The actions at one site."""
        return tuple(action for action in self.actions if action.site == site)

    def as_json(self) -> dict[str, Any]:
        return {
            "changes": [action.as_json() for action in self.actions],
            "summary": self.summary,
            "noop": self.noop,
            "base": self.base,
            "bases": dict(self.bases),
            "guard": {
                "needed": self.guard.needed,
                "sources": self.guard.sources,
                "stops": list(self.guard.stops),
                "shortens": list(self.guard.shortens),
                "reason": self.guard.reason,
            },
            "unknown": list(self.unknown),
            "passed_over": list(self.passed_over),
            "refused": list(self.refused),
        }


def diff(desired: PolicySet, observed: Observed, *, partial: bool = False, prune: bool = False) -> Plan:
    """The plan that leads one site from `observed` to `desired`, which is its part of the policies.

    `partial`: `desired` is a part of the repository merged over what was applied (see
    `engine.reconcile.load.with_applied`); it removes nothing unless `prune`. Refused when a new
    source would continue the history of another one. Of a site that does not answer only the node is planned.
    """
    desired = adopt_streams(desired, observed)
    may_remove = prune or not partial
    running = tuple(_processes(desired, observed, partial=not may_remove))
    done = (*_documents(desired, observed), *_sources(desired, observed)) if observed.known else ()
    total = len(desired.documents) + len(desired.sources)
    changed = sum(action.action in (CREATE, UPDATE) for action in done)
    hosts = desired.agents.get(observed.site, ())
    records = observed.known and (bool(done) or hosts != observed.hosts)
    return Plan(
        actions=tuple(replace(action, site=observed.site) for action in (*running, *done)),
        unchanged=total - changed if observed.known else 0,
        guard=guard_of([_guarded(desired, observed)]),
        bases={observed.site: observed.number},
        desired=desired,
        partial=not may_remove,
        records=(observed.site,) if records else (),
        unknown=() if observed.known else (observed.site,),
        passed_over=tuple(_passed_over(hosts, observed)),
    )


def merged(plans: Iterable[Plan], desired: PolicySet, refused: Iterable[str] = ()) -> Plan:
    """One plan of those of several sites, in their order; `desired` is the whole set. Guards count over all."""
    plans = list(plans)
    streams = {str(spec.address): spec.stream_id for plan in plans for spec in plan.desired.sources}
    sources = tuple(replace(spec, stream_id=streams.get(str(spec.address), spec.stream_id)) for spec in desired.sources)
    return Plan(
        actions=tuple(action for plan in plans for action in plan.actions),
        unchanged=sum(plan.unchanged for plan in plans),
        guard=guard_of(plan.guard for plan in plans),
        bases={site: base for plan in plans for site, base in plan.bases.items()},
        desired=replace(desired, sources=sources),
        partial=any(plan.partial for plan in plans),
        unknown=tuple(site for plan in plans for site in plan.unknown),
        records=tuple(site for plan in plans for site in plan.records),
        passed_over=tuple(text for plan in plans for text in plan.passed_over),
        refused=tuple(refused),
    )


def check_guards(plan: Plan, *, confirm: int | None = None, allow_empty: bool = False) -> None:
    """Refused when the plan can't be carried out, or would destroy something that nobody has confirmed."""
    if plan.refused:
        raise Refused(
            plan.refused[0] + (f"; and {len(plan.refused) - 1} more" if plan.refused[1:] else ""),
            hint="apply what concerns other sites by its files: bcsctl apply FILE...",
            details={"refused": list(plan.refused)},
        )
    if not plan.desired.documents and not allow_empty:
        raise Refused("there is no policy document", hint="give the directory that holds them, or --allow-empty")
    guard = plan.guard
    removed = plan.removed
    if plan.partial and removed:
        raise Refused(
            f"applying a part would remove {removed[0]}" + (f" and {len(removed) - 1} more" if removed[1:] else ""),
            hint=f"apply the whole repository, or add --prune{_confirmation(guard)}",
            details={"sources": guard.sources, "stops": list(guard.stops), "shortens": list(guard.shortens)},
        )
    if guard.needed and confirm != guard.sources:
        given = f", not {confirm}" if confirm is not None else ""
        raise Refused(
            f"the plan {guard.reason}{given and f' (--confirm {confirm} was given)'}",
            hint=f"if that is meant, repeat the number of sources it touches: --confirm {guard.sources}",
            details={"sources": guard.sources, "stops": list(guard.stops), "shortens": list(guard.shortens)},
        )


def _confirmation(guard: Guard) -> str:
    return f" --confirm {guard.sources}" if guard.needed else ""


def adopt_streams(desired: PolicySet, observed: Observed) -> PolicySet:
    """`desired` with the streams that sources have already, under this address or a former one.

    So a group keeps its history through any number of renames, even when `formerly` is gone from
    the policy. Refused when two sources would write one stream.
    """
    sources = tuple(replace(spec, stream_id=_stream(spec, observed)) for spec in desired.sources)
    owners: dict[str, SourceSpec] = {}
    for spec in sources:
        other = owners.setdefault(spec.stream_id, spec)
        if other is not spec:
            raise Refused(
                f"{spec.address} would continue the history of {other.address}",
                hint="that group had this name before; choose another name for the new one",
            )
    return replace(desired, sources=sources)


def _stream(spec: SourceSpec, observed: Observed) -> str:
    for address in (spec.address, *reversed(spec.former_addresses)):
        applied = observed.sources.get(str(address))
        if applied is not None:
            return str(applied["stream"])
    return spec.stream_id


def _documents(desired: PolicySet, observed: Observed) -> Iterator[Action]:
    """Creates and updates in order of kinds, then removals in the reverse order."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    renamed = {new: old for old, new in _renamed_groups(desired, observed).items()}
    for document in sorted(desired.documents, key=lambda document: (order[document.kind], document.name)):
        old_key = renamed.get(document.key, document.key)
        applied = observed.documents.get(old_key)
        if applied is None:
            reason = f"new in {document.file}" if document.file else "not applied before"
            yield Action(CREATE, document.kind, document.name, reason)
        elif fields := changed_fields(applied, document.raw):
            reason = f"differs from what apply {observed.number} recorded"
            if old_key != document.key:
                reason = f"renamed from {old_key.partition('/')[2]}; its history goes on"
            yield Action(UPDATE, document.kind, document.name, reason, fields)
    there = {document.key for document in desired.documents} | set(renamed.values())
    gone = [key.partition("/") for key in observed.documents if key not in there]
    for kind, _, name in sorted(gone, key=lambda part: (-order.get(part[0], 0), part[2])):
        history = kind == "ProtectionGroup"
        reason = "no longer among the policies" + ("; protection stops, its history is kept" if history else "")
        yield Action(REMOVE, kind, name, reason)


def _renamed_groups(desired: PolicySet, observed: Observed) -> dict[str, str]:
    """{old key: new key} of groups that were applied under a former name and not under their own."""
    renames: dict[str, str] = {}
    for group in desired.groups:
        new = f"ProtectionGroup/{group.name}"
        for former in reversed(group.formerly):
            old = f"ProtectionGroup/{former}"
            if old in observed.documents and new not in observed.documents:
                renames[old] = new
                break
    return renames


def _sources(desired: PolicySet, observed: Observed) -> Iterator[Action]:
    """A source is the same one when its stream is, whatever its address."""
    applied = {str(source["stream"]): source for source in observed.sources.values()}
    for spec in desired.sources:
        old = applied.get(spec.stream_id)
        if old is None:
            paths = ", ".join(spec.paths) or spec.kind
            yield Action(CREATE, "Source", str(spec.address), f"starts to protect {paths}")
        elif fields := changed_fields(old, spec.as_json()):
            yield Action(UPDATE, "Source", str(spec.address), _why_updated(old, spec), fields)
    streams = {spec.stream_id for spec in desired.sources}
    for address in sorted(observed.sources):
        if observed.sources[address]["stream"] not in streams:
            yield Action(
                REMOVE, "Source", address, "no longer among the policies; protection stops, its history is kept"
            )


def _why_updated(old: Mapping[str, Any], spec: SourceSpec) -> str:
    reasons = []
    if old["address"] != str(spec.address):
        reasons.append(f"was {old['address']}; its history goes on")
    dropped = [path for path in old["paths"] if path not in spec.paths]
    added = [path for path in spec.paths if path not in old["paths"]]
    if dropped:
        reasons.append(f"stops to protect {', '.join(dropped)}, its history is kept")
    if added:
        reasons.append(f"starts to protect {', '.join(added)}")
    return "; ".join(reasons) or "its policy changed"


def _processes(desired: PolicySet, observed: Observed, *, partial: bool) -> Iterator[Action]:
    if observed.site == EMBEDDED_SITE:
        yield from processes.of_this_machine(desired, observed)
    for site in desired.sites:
        if site.name == observed.site:
            spec = next(each.raw["spec"] for each in desired.documents if each.key == f"Site/{site.name}")
            hosts = desired.agents.get(site.name, ())
            yield from processes.of_site(site, spec, hosts, observed, partial=partial)


def _passed_over(hosts: tuple[str, ...], observed: Observed) -> Iterator[str]:
    for host in processes.shut_out(hosts, observed):
        yield (
            f"{host}: its certificate was revoked while policies name it, so nothing is done there until "
            f"`bcsctl apply --readmit {host}` lets it in again"
        )


def _guarded(desired: PolicySet, observed: Observed) -> Guard:
    """What the plan of one site stops and what it shortens."""
    if not observed.known:
        return Guard()
    now = {spec.stream_id: spec for spec in desired.sources}
    stops = tuple(sorted(address for address, old in observed.sources.items() if old["stream"] not in now))
    coarser = tuple(
        sorted(
            str(now[old["stream"]].address)
            for old in observed.sources.values()
            if old["stream"] in now and shortens(old["retention"], now[old["stream"]].retention)
        )
    )
    return Guard(stops, coarser, total=len(observed.sources))


def guard_of(guards: Iterable[Guard]) -> Guard:
    """What plans stop and shorten together, and whether that needs a typed confirmation."""
    guards = list(guards)
    stops = tuple(address for guard in guards for address in guard.stops)
    coarser = tuple(address for guard in guards for address in guard.shortens)
    total = sum(guard.total for guard in guards)
    reasons = [f"stops protecting {_count(stops)} of {total}"] if len(stops) * STOPPED_SHARE_MAX > total else []
    reasons += [f"shortens the retention of {_count(coarser)}"] if coarser else []
    return Guard(stops, coarser, bool(reasons), " and ".join(reasons), total)


def _count(addresses: tuple[str, ...]) -> str:
    return f"{len(addresses)} source{'s' if len(addresses) != 1 else ''}"
