"""What an apply would do, and whether it may: pure decisions over desired and observed state.

`diff` only decides; `check_guards` refuses; something else executes. A second plan after an apply is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.model.errors import Refused
from engine.model.policy.documents import KINDS
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.site import EMBEDDED_HOST, EMBEDDED_SITE
from engine.plan.retention import shortens

CREATE, UPDATE, REMOVE, START, UPGRADE = "create", "update", "remove", "start", "upgrade"
ABSENT, STOPPED, RUNNING = "absent", "stopped", "running"
STOPPED_SHARE_MAX = 5
"""A plan may stop one source in this many without a typed confirmation."""


@dataclass(frozen=True, slots=True)
class Process:
    """The node or the agent of this machine: `state` is absent, stopped or running."""

    state: str = ABSENT
    version: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is. `number` is the last applied control number, 0 for none; `documents` and `sources`
    are what that apply recorded (the form of `PolicySet.as_json`); `version` is the one that should run."""

    number: int = 0
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    node: Process = Process()
    agent: Process = Process()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One field; None on the side where it isn't set."""

    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Action:
    """`action` is create, update, remove, start or upgrade; `fields` are dotted names with what changes.

    `points_removed` is how many points a source's shorter retention takes; None where none is shortened, or where
    nobody has counted.
    """

    action: str
    kind: str
    name: str
    reason: str
    fields: Mapping[str, Change] = field(default_factory=dict)
    points_removed: int | None = None

    def as_json(self) -> dict[str, Any]:
        fields = {name: {"old": change.old, "new": change.new} for name, change in self.fields.items()}
        shown = {"action": self.action, "kind": self.kind, "name": self.name, "fields": fields, "reason": self.reason}
        return shown if self.points_removed is None else {**shown, "points_removed": self.points_removed}


@dataclass(frozen=True, slots=True)
class Guard:
    """What would destroy. `stops` and `shortens` are addresses; `needed` says that it must be confirmed."""

    stops: tuple[str, ...] = ()
    shortens: tuple[str, ...] = ()
    needed: bool = False
    reason: str = ""

    @property
    def sources(self) -> int:
        """How many sources the plan touches: the number to confirm."""
        return len({*self.stops, *self.shortens})


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order of execution. `base` is the control number the plan was made from; `desired` is
    what it leads to; `partial` that it covers a part of the repository, and so may remove nothing."""

    actions: tuple[Action, ...]
    unchanged: int
    guard: Guard
    base: int
    desired: PolicySet
    partial: bool = False

    @property
    def noop(self) -> bool:
        return not self.actions

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

    def as_json(self) -> dict[str, Any]:
        return {
            "changes": [action.as_json() for action in self.actions],
            "summary": self.summary,
            "noop": self.noop,
            "base": self.base,
            "guard": {
                "needed": self.guard.needed,
                "sources": self.guard.sources,
                "stops": list(self.guard.stops),
                "shortens": list(self.guard.shortens),
                "reason": self.guard.reason,
            },
        }


def diff(desired: PolicySet, observed: Observed, *, partial: bool = False, prune: bool = False) -> Plan:
    """The plan that leads from `observed` to `desired`.

    `partial`: `desired` is a part of the repository merged over what was applied (see
    `engine.reconcile.load.with_applied`); it removes nothing unless `prune`. Refused when a new
    source would continue the history of another one.
    """
    desired = adopt_streams(desired, observed)
    documents = list(_documents(desired, observed))
    sources = list(_sources(desired, observed))
    processes = list(_processes(desired, observed))
    total = len(desired.documents) + len(desired.sources)
    changed = sum(action.action in (CREATE, UPDATE) for action in (*documents, *sources))
    return Plan(
        actions=(*processes, *documents, *sources),
        unchanged=total - changed,
        guard=_guard(desired, observed),
        base=observed.number,
        desired=desired,
        partial=partial and not prune,
    )


def check_guards(plan: Plan, *, confirm: int | None = None, allow_empty: bool = False) -> None:
    """Refused when the plan would destroy something that nobody has confirmed."""
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


def _processes(desired: PolicySet, observed: Observed) -> Iterator[Action]:
    """Node and agent of this machine, needed as soon as anything here is protected by them."""
    if not desired.embedded:
        return
    for kind, name, process in (
        ("Node", EMBEDDED_SITE, observed.node),
        ("Agent", EMBEDDED_HOST, observed.agent),
    ):
        version = {"version": Change(process.version or None, observed.version)}
        if process.state == ABSENT:
            yield Action(CREATE, kind, name, f"there is no {kind.lower()} yet", version)
        elif process.version and process.version != observed.version:
            yield Action(UPGRADE, kind, name, f"has version {process.version}", version)
        elif process.state == STOPPED:
            yield Action(START, kind, name, "is not running")


def _guard(desired: PolicySet, observed: Observed) -> Guard:
    """What the plan stops and what it shortens, and whether that needs a typed confirmation."""
    now = {spec.stream_id: spec for spec in desired.sources}
    stops = tuple(sorted(address for address, old in observed.sources.items() if old["stream"] not in now))
    coarser = tuple(
        sorted(
            str(now[old["stream"]].address)
            for old in observed.sources.values()
            if old["stream"] in now and shortens(old["retention"], now[old["stream"]].retention)
        )
    )
    many = len(stops) * STOPPED_SHARE_MAX > len(observed.sources)
    reasons = [f"stops protecting {_count(stops)} of {len(observed.sources)}"] if many else []
    reasons += [f"shortens the retention of {_count(coarser)}"] if coarser else []
    return Guard(stops, coarser, bool(reasons), " and ".join(reasons))


def _count(addresses: tuple[str, ...]) -> str:
    return f"{len(addresses)} source{'s' if len(addresses) != 1 else ''}"


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    """The leaves that differ between two JSON objects, by dotted name; lists of one length item by item."""
    return dict(_changed("", old, new))


def _changed(path: str, old: Any, new: Any) -> Iterator[tuple[str, Change]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changed(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _of_objects(old + new):
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changed(f"{path}[{at}]", one, other)
    elif old != new:
        yield path, Change(old, new)


def _of_objects(items: list[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in items)
