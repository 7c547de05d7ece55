"""What documents say of one another, and what a schema can't express: every check that needs no host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from engine.model.errors import UsageError
from engine.model.points import parse_moment
from engine.model.policy.agents import MINUTES_A_DAY, agent_settings, schedule
from engine.model.policy.documents import Fault
from engine.model.policy.drills import LATEST, RANDOM
from engine.model.policy.site import EMBEDDED_SITE
from engine.model.times import format_size, parse_duration
from engine.reconcile.load import Loaded, Placed, Step, former_names
from engine.reconcile.load_yaml import shown
from engine.reconcile.schema import nearest
from engine.reconcile.values import source_kind

Index = Mapping[str, Mapping[str, Placed]]


def index_of(loaded: Loaded) -> tuple[Index, list[Fault]]:
    """{kind: {name: document}}, and a fault for each name given twice."""
    index: dict[str, dict[str, Placed]] = {}
    faults: list[Fault] = []
    for placed in loaded.documents:
        document = placed.document
        first = index.setdefault(document.kind, {}).setdefault(document.name, placed)
        if first is not placed:
            message = (
                f"a second {document.kind} is called {shown(document.name)}; the first is in {_where(first, placed)}"
            )
            faults.append(placed.fault(("metadata", "name"), message, "rename or remove one of them"))
    return index, faults


def faults(loaded: Loaded, index: Index) -> Iterator[Fault]:
    """Every fault between documents and within one beyond its schema, hosts and paths excepted."""
    names = _Names(loaded)
    for placed in loaded.documents:
        yield from _CHECKS.get(placed.document.kind, _nothing)(placed, names, index)
    yield from _one_defaults(index)


class _Names:
    """Which names a reference may use. An incomplete set accepts every name: it might be in what can't be read."""

    def __init__(self, loaded: Loaded) -> None:
        self.complete = loaded.complete
        self.known = loaded.known

    def of(self, kind: str) -> list[str]:
        return sorted(key.partition("/")[2] for key in self.known if key.startswith(f"{kind}/"))

    def missing(self, placed: Placed, path: Sequence[Step], kind: str, name: str, noun: str) -> Iterator[Fault]:
        """A fault unless a document of `kind` is called `name`."""
        known = self.of(kind)
        if self.complete and name not in known:
            there = f"there are {', '.join(known[:8])}" if known else f"no {kind} document is here; write one"
            yield placed.fault(path, f"no {noun} is called {shown(name)}", nearest(name, known) or there)


def _nothing(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    return iter(())


def _site(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    spec = placed.document.raw["spec"]
    if placed.document.name == EMBEDDED_SITE:
        message = f"the name {shown(EMBEDDED_SITE)} belongs to the node embedded in this machine"
        yield placed.fault(("metadata", "name"), message, "choose another name")
    if len(spec["nodes"]) > 1 and spec["storage"]["url"].startswith("file://"):
        message = f"{len(spec['nodes'])} nodes can't share {shown(spec['storage']['url'])}"
        yield placed.fault(("spec", "storage", "url"), message, "use a remote store, for example s3://bucket/prefix")
    yield from _twice(placed, ("spec", "nodes"), [node["host"] for node in spec["nodes"]], "node")
    if "inventory" not in spec and "hosts" in spec.get("agent", {}):
        message = f"there is no inventory to find {shown(spec['agent']['hosts'])} in"
        yield placed.fault(("spec", "agent", "hosts"), message, "add inventory: to this document")
    yield from _agent(placed, spec.get("agent", {}))
    if "inventory" in spec and placed.document.file:
        inventory = Path(placed.document.file).parent / spec["inventory"]
        if not inventory.exists():
            message = f"there is no inventory at {shown(spec['inventory'])}"
            yield placed.fault(("spec", "inventory"), message, "the path is relative to this file")


def _agent(placed: Placed, agent: Mapping[str, Any]) -> Iterator[Fault]:
    for key in ("bandwidth", "baselineBandwidth"):
        if isinstance(agent.get(key), list):
            yield from _bounds(placed, ("spec", "agent", key), agent[key])
    settings = agent_settings(agent)
    if settings.cache > settings.memory_limit // 2:
        message = f"a cache of {format_size(settings.cache)} leaves too little of {format_size(settings.memory_limit)}"
        yield placed.fault(("spec", "agent", "cache"), message, "at most half of memoryLimit, which is 1GiB unless set")
    if "timezone" in agent and agent["timezone"] not in available_timezones():
        message = f"there is no time zone {shown(agent['timezone'])}"
        hint = nearest(agent["timezone"], sorted(available_timezones())) or "for example Europe/Zurich or UTC"
        yield placed.fault(("spec", "agent", "timezone"), message, hint)


def _bounds(placed: Placed, path: tuple[Step, ...], entries: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    """Every bound can hold at some time."""
    always = False
    for at, (entry, bound) in enumerate(zip(entries, schedule(entries), strict=True)):
        if bound.begins == bound.ends or bound.begins == MINUTES_A_DAY:
            message = f"the bound ends when it begins, at {entry.get('from', '00:00')}"
            yield placed.fault((*path, at), message, "leave out from and to for the whole day")
        elif always:
            yield placed.fault((*path, at), "it never counts: a bound before it always holds", "put it before that one")
        always = always or bound.always


def _group(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    raw = placed.document.raw
    spec = raw["spec"]
    yield from _formerly(placed, names, index)
    if "site" in spec and spec["site"] != EMBEDDED_SITE:
        yield from names.missing(placed, ("spec", "site"), "Site", spec["site"], "site")
    yield from _retention(placed, ("spec", "retention"), names, spec.get("retention"))
    yield from _drills(placed, spec.get("drills", ()))
    yield from _source_names(placed, spec["sources"])
    yield from _replicas(placed, names, spec)
    if "recovery" in spec:
        yield from _recovery(placed, spec)


def _formerly(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    for old in former_names(placed.document.raw["metadata"]):
        path = ("metadata", "formerly")
        if old == placed.document.name:
            yield placed.fault(path, f"the group has the name {shown(old)} already", "write the name it had before")
        elif old in names.of("ProtectionGroup"):
            yield placed.fault(
                path, f"the group {shown(old)} is still here", "remove its document: this one replaces it"
            )
        for other in index.get("ProtectionGroup", {}).values():
            if other.document.name < placed.document.name and old in former_names(other.document.raw["metadata"]):
                message = f"the group {shown(other.document.name)} says too that it was {shown(old)}"
                yield placed.fault(path, message, "only one group can continue that history")


def _source_names(placed: Placed, sources: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    seen: dict[str, int] = {}
    for at, source in enumerate(sources):
        kind = source_kind(source)
        name = source.get("name", kind)
        if name in seen:
            both_unnamed = "name" not in source and "name" not in sources[seen[name]]
            message = (
                f"a second source of kind {kind} has no name"
                if both_unnamed
                else f"a second source is called {shown(name)}"
            )
            hint = "give each its own, for example name: ledgers" if both_unnamed else "choose another name"
            yield placed.fault(("spec", "sources", at), message, hint)
        seen.setdefault(name, at)


def _replicas(placed: Placed, names: _Names, spec: Mapping[str, Any]) -> Iterator[Fault]:
    replicas = spec.get("replicate", ())
    for at, replica in enumerate(replicas):
        path = ("spec", "replicate", at)
        if replica["to"] == spec.get("site"):
            message = f"the site {shown(replica['to'])} is where the group's history is kept already"
            yield placed.fault((*path, "to"), message, "name another site")
        else:
            yield from names.missing(placed, (*path, "to"), "Site", replica["to"], "site")
        yield from _retention(placed, (*path, "retention"), names, replica.get("retention"))
    yield from _twice(placed, ("spec", "replicate"), [replica["to"] for replica in replicas], "replica")


def _recovery(placed: Placed, spec: Mapping[str, Any]) -> Iterator[Fault]:
    target = spec["recovery"]
    copies = [replica["to"] for replica in spec.get("replicate", ())]
    if target["site"] not in copies:
        message = f"the site {shown(target['site'])} gets no replica of this group"
        hint = nearest(target["site"], copies) or f"add it: replicate: [{{to: {target['site'][:63]}}}]"
        yield placed.fault(("spec", "recovery", "site"), message, hint)
    known = [
        name for source in spec["sources"] for name in {source_kind(source), source.get("name", source_kind(source))}
    ]
    for at, name in enumerate(target.get("order", ())):
        if name not in known:
            hint = nearest(name, known) or f"sources here are {', '.join(sorted(set(known)))}"
            yield placed.fault(
                ("spec", "recovery", "order", at), f"no source of this group is called {shown(name)}", hint
            )


def _retention(placed: Placed, path: tuple[Step, ...], names: _Names, retention: Any) -> Iterator[Fault]:
    if isinstance(retention, str):
        yield from names.missing(placed, path, "RetentionPolicy", retention, "retention")
    elif retention is not None:
        yield from _tiers(placed, (*path, "tiers"), retention["tiers"])


def _retention_policy(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    yield from _tiers(placed, ("spec", "tiers"), placed.document.raw["spec"]["tiers"])


def _tiers(placed: Placed, path: tuple[Step, ...], tiers: Sequence[Mapping[str, str]]) -> Iterator[Fault]:
    """Tiers reach further back one by one, and each keeps less than the one before it."""
    before: tuple[int, int] | None = None
    for at, tier in enumerate(tiers):
        keep, until = (
            (0 if tier["keep"] == "every-change" else parse_duration(tier["keep"])),
            parse_duration(tier["for"]),
        )
        if keep > until:
            message = f"a tier of {shown(tier['for'])} can't keep one point in {shown(tier['keep'])}"
            yield placed.fault((*path, at, "keep"), message, "keep more often than the tier is long")
        if before and until <= before[1]:
            message = f"the tier reaches back {shown(tier['for'])}, no further than the one before it"
            yield placed.fault(
                (*path, at, "for"), message, "ages are counted from now: let each tier reach further back"
            )
        if before and keep <= before[0]:
            message = f"the tier keeps {shown(tier['keep'])}, no less than the one before it"
            yield placed.fault((*path, at, "keep"), message, "let each tier keep less than the one before it")
        before = (keep, until)


def _drills(placed: Placed, drills: Sequence[Mapping[str, Any]]) -> Iterator[Fault]:
    for at, drill in enumerate(drills):
        moment = drill.get("restore", LATEST)
        try:
            if moment != RANDOM:
                parse_moment(moment, now=0)
        except UsageError as error:
            hint = f"{error.hint}; or {LATEST}, or {RANDOM}"
            yield placed.fault(("spec", "drills", at, "restore"), error.message, hint)


def _defaults(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    spec = placed.document.raw["spec"]
    if "site" in spec and spec["site"] != EMBEDDED_SITE:
        yield from names.missing(placed, ("spec", "site"), "Site", spec["site"], "site")
    yield from _retention(placed, ("spec", "retention"), names, spec.get("retention"))
    yield from _drills(placed, spec.get("drills", ()))


def _one_defaults(index: Index) -> Iterator[Fault]:
    all_defaults = list(index.get("Defaults", {}).values())
    for placed in all_defaults[1:]:
        message = f"a second Defaults document; the first is in {_where(all_defaults[0], placed)}"
        yield placed.fault((), message, "a repository has one")


def _access(placed: Placed, names: _Names, index: Index) -> Iterator[Fault]:
    for at, pattern in enumerate(placed.document.raw["spec"]["groups"]):
        if not any(char in pattern for char in "*?["):
            yield from names.missing(placed, ("spec", "groups", at), "ProtectionGroup", pattern, "group")


def _where(first: Placed, second: Placed) -> str:
    line = first.document.line
    return f"line {line}" if first.document.file == second.document.file else f"{first.document.file}:{line}"


def _twice(placed: Placed, path: tuple[Step, ...], words: Sequence[str], noun: str) -> Iterator[Fault]:
    for at, word in enumerate(words):
        if word in words[:at]:
            yield placed.fault((*path, at), f"{shown(word)} is a {noun} already", "remove one of them")


_CHECKS = {
    "Site": _site,
    "ProtectionGroup": _group,
    "RetentionPolicy": _retention_policy,
    "Defaults": _defaults,
    "AccessPolicy": _access,
}
