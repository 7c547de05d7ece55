"""From loaded documents to a `PolicySet`: references checked, defaults inherited, hosts and paths written out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.model.errors import PolicyInvalid
from engine.model.ids import Address, stream_id
from engine.model.policy.documents import Fault
from engine.model.policy.drills import read_drills
from engine.model.policy.group import Ignored, ProtectionGroup, Replication
from engine.model.policy.resolved import PolicySet, SourceSpec
from engine.model.policy.retention import DEFAULT_TIERS, Tiers
from engine.model.policy.site import EMBEDDED_HOST, EMBEDDED_SITE, Site
from engine.model.policy.sources import FilesSource, MaildirSource, MariadbSource, PostgresqlSource, Source
from engine.model.times import MINUTE, parse_duration
from engine.reconcile import references, values
from engine.reconcile.hosts import Hosts, ResolveHosts
from engine.reconcile.load import Loaded, Placed, Step, former_names, load
from engine.reconcile.load_yaml import shown
from engine.reconcile.paths import BadPath, Claim, bad_pattern, expand, literal, overlaps
from engine.tree.match import Exclude, compile_excludes

LAG_MAX_DEFAULT = MINUTE
_INHERITED = ("site", "retention", "drills")


def load_policies(
    paths: Iterable[str | os.PathLike[str]],
    *,
    variables: Mapping[str, str] | None = None,
    resolve_hosts: ResolveHosts | None = None,
) -> PolicySet:
    """The policies of files and directories, checked and resolved; PolicyInvalid with every fault found."""
    return resolve(load(paths), variables=variables, resolve_hosts=resolve_hosts)


def resolve(
    loaded: Loaded,
    *,
    variables: Mapping[str, str] | None = None,
    resolve_hosts: ResolveHosts | None = None,
    inventories: Mapping[str, str] | None = None,
) -> PolicySet:
    """The set that `loaded` describes; PolicyInvalid with every fault, those of loading first among equals.

    `variables` hold BCS_HOME and HOME for paths of the embedded site; without them such paths stay
    as written. Without `resolve_hosts`, groups of other sites are checked but have no sources yet.
    `inventories` are paths by site, for Site documents that come from no file.
    """
    policies, faults = examine(loaded, variables=variables, resolve_hosts=resolve_hosts, inventories=inventories)
    if faults or policies is None:
        raise invalid(faults)
    return policies


def examine(
    loaded: Loaded,
    *,
    variables: Mapping[str, str] | None = None,
    resolve_hosts: ResolveHosts | None = None,
    inventories: Mapping[str, str] | None = None,
) -> tuple[PolicySet | None, tuple[Fault, ...]]:
    """The set (None when a fault was found) and all faults by file and line. Never raises for a document."""
    index, faults = references.index_of(loaded)
    faults += references.faults(loaded, index)
    sites = tuple(_site(placed, inventories or {}) for _, placed in sorted(index.get("Site", {}).items()))
    scene = _Scene(index, {site.name: site for site in sites}, variables, resolve_hosts, faults)
    groups = tuple(_group(placed, scene) for _, placed in sorted(index.get("ProtectionGroup", {}).items()))
    agents = {site.name: _agents(site, groups, scene) for site in sites}
    for group in groups:
        faults += _drill_hosts(group, agents.get(group.site, (EMBEDDED_HOST,)), scene)
    faults += overlaps(scene.claims)
    found = tuple(sorted({*loaded.errors, *faults}))
    if found:
        return None, found
    documents = sorted((placed.document for placed in loaded.documents), key=lambda document: document.key)
    policies = PolicySet(
        documents=tuple(documents),
        sites=sites,
        groups=groups,
        retentions=_bodies(index, "RetentionPolicy", values.retention_policy),
        access=_bodies(index, "AccessPolicy", values.access),
        notifications=_bodies(index, "Notification", values.notification),
        sources=tuple(sorted(scene.specs, key=lambda spec: spec.address)),
        unresolved=tuple(scene.unresolved),
        agents=agents,
    )
    return policies, ()


def invalid(faults: Sequence[Fault]) -> PolicyInvalid:
    """The error that carries faults: `details["errors"]` is their JSON form."""
    first = str(faults[0]) if faults else "no policy"
    message = first if len(faults) == 1 else f"{len(faults)} errors in the policies; the first: {first}"
    hint = faults[0].hint if len(faults) == 1 else "`bcsctl validate` lists them all"
    return PolicyInvalid(message, hint=hint, details={"errors": [fault.as_json() for fault in faults]})


class _Scene:
    """What resolving the groups reads, and what it adds to."""

    def __init__(
        self,
        index: references.Index,
        sites: Mapping[str, Site],
        variables: Mapping[str, str] | None,
        resolve_hosts: ResolveHosts | None,
        faults: list[Fault],
    ) -> None:
        self.index, self.sites, self.variables, self.faults = index, sites, variables, faults
        self.resolve_hosts = resolve_hosts
        self.hosts = Hosts(index.get("Site", {}), resolve_hosts, faults)
        self.defaults: Mapping[str, Any] = next((_spec(p) for p in index.get("Defaults", {}).values()), {})
        self.claims: list[Claim] = []
        self.specs: list[SourceSpec] = []
        self.unresolved: list[str] = []


def _spec(placed: Placed) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = placed.document.raw["spec"]
    return spec


def _site(placed: Placed, inventories: Mapping[str, str]) -> Site:
    """A site; its inventory as a path from here, by where its document was read, or as somebody found it."""
    site = values.site(placed.document.name, _spec(placed))
    if not site.inventory:
        return site
    if not placed.document.file:
        return replace(site, inventory=inventories.get(site.name, site.inventory))
    return replace(site, inventory=os.path.join(os.path.dirname(placed.document.file), site.inventory))


def _bodies(index: references.Index, kind: str, build: Callable[[str, Mapping[str, Any]], Any]) -> tuple[Any, ...]:
    return tuple(build(name, _spec(placed)) for name, placed in sorted(index.get(kind, {}).items()))


def _inherit(spec: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with what the Defaults document says where it says nothing."""
    inherited = {key: defaults[key] for key in _INHERITED if key in defaults}
    objectives = {**defaults.get("objectives", {}), **spec.get("objectives", {})}
    return {**inherited, **spec, "objectives": objectives}


def _group(placed: Placed, scene: _Scene) -> ProtectionGroup:
    """One group in full; its claims and sources are added to the scene."""
    raw = placed.document.raw
    spec = _inherit(raw["spec"], scene.defaults)
    site = _site_of(placed, spec, scene)
    group = ProtectionGroup(
        name=placed.document.name,
        site=site,
        hosts=_hosts(placed, spec, site, scene),
        sources=tuple(values.source(source) for source in spec["sources"]),
        tiers=_tiers(spec.get("retention"), scene, DEFAULT_TIERS if site == EMBEDDED_SITE else ()),
        labels=dict(raw["metadata"].get("labels", {})),
        formerly=former_names(raw["metadata"]),
        ignore=_ignored(placed, spec, site, scene),
        objectives=values.objectives(spec["objectives"]),
        consistency=values.consistency(spec.get("consistency", {})),
        replicate=tuple(_replication(replica, scene) for replica in spec.get("replicate", ())),
        recovery=values.recovery(spec["recovery"]) if "recovery" in spec else None,
        drills=read_drills(spec.get("drills", ())),
    )
    sources = tuple(_expanded(placed, at, source, site, scene) for at, source in enumerate(group.sources))
    group = replace(group, sources=sources)
    for at, source in enumerate(sources):
        _protect(placed, at, source, group, scene)
    return group


def _agents(site: Site, groups: Sequence[ProtectionGroup], scene: _Scene) -> tuple[str, ...]:
    """The hosts of a site that get an agent."""
    scene.hosts.check_nodes(site)
    protected = {host for group in groups if group.site == site.name for host in group.hosts}
    return tuple(sorted(protected | set(scene.hosts.to_restore_to(site))))


def _drill_hosts(group: ProtectionGroup, agents: Sequence[str], scene: _Scene) -> Iterator[Fault]:
    """A fault for each drill on a host without an agent. Where no inventory was read nobody knows."""
    if scene.resolve_hosts is None and group.site != EMBEDDED_SITE:
        return
    placed = scene.index["ProtectionGroup"][group.name]
    for at, drill in enumerate(group.drills):
        if drill.host and drill.host not in agents:
            near = f"hosts with one are {', '.join(agents[:8])}" if agents else "the site has no host with an agent"
            own = "drills" in _spec(placed)
            path: tuple[Step, ...] = ("spec", "drills", at, "host") if own else ("spec",)
            message = f"the drill of '{group.name}' is to be made on {shown(drill.host)}, which has no agent"
            yield placed.fault(path, message, f"{near}; `agent.hosts` of the Site gives others one")


def _site_of(placed: Placed, spec: Mapping[str, Any], scene: _Scene) -> str:
    if "site" not in spec and scene.sites:
        known = sorted(scene.sites)
        hint = f"write site: {known[0]}, or site: {EMBEDDED_SITE} for this machine"
        scene.faults.append(
            placed.fault(("spec",), "'site' is missing, and there are Site documents", hint, at_key=True)
        )
    site: str = spec.get("site", EMBEDDED_SITE)
    return site


def _tiers(retention: Any, scene: _Scene, otherwise: Tiers) -> Tiers:
    """The tiers that a name or an inline value stands for; a name that's unknown is a fault already."""
    if retention is None:
        return otherwise
    if isinstance(retention, str):
        placed = scene.index.get("RetentionPolicy", {}).get(retention)
        return values.tiers(_spec(placed)["tiers"]) if placed else otherwise
    return values.tiers(retention["tiers"])


def _replication(raw: Mapping[str, Any], scene: _Scene) -> Replication:
    lag_max = parse_duration(raw["maxLag"]) if "maxLag" in raw else LAG_MAX_DEFAULT
    return Replication(raw["to"], _tiers(raw["retention"], scene, ()) if "retention" in raw else None, lag_max)


def _hosts(placed: Placed, spec: Mapping[str, Any], site: str, scene: _Scene) -> tuple[str, ...]:
    pattern = spec.get("hosts")
    path = ("spec", "hosts")
    if site == EMBEDDED_SITE:
        if pattern not in (None, EMBEDDED_HOST):
            message = f"{shown(pattern)} is not on the embedded site, whose one host is {EMBEDDED_HOST}"
            hint = "leave 'hosts' out, or name a site with an inventory"
            scene.faults.append(placed.fault(path, message, hint))
        return (EMBEDDED_HOST,)
    if pattern is None:
        hint = "for example hosts: all, or any Ansible host pattern"
        scene.faults.append(placed.fault(("spec",), "'hosts' is missing", hint, at_key=True))
        return ()
    declared = scene.sites.get(site)
    if declared is not None and not declared.inventory:
        message = f"the site {shown(site)} has no inventory to find {shown(pattern)} in"
        scene.faults.append(placed.fault(path, message, "add inventory: to its Site document"))
        return ()
    if declared is None or not scene.hosts.known:
        scene.unresolved.append(placed.document.name)
        return ()
    return scene.hosts.of_group(placed, spec, declared)


def _path(
    placed: Placed, at: tuple[Step, ...], path: str, scene: _Scene, *, embedded: bool, quote: bool = False
) -> str:
    """The path written out; with `quote`, what variables stand for is made literal in a pattern."""
    variables = scene.variables
    if quote and variables is not None:
        variables = {name: literal(value) for name, value in variables.items()}
    try:
        return expand(path, variables, embedded=embedded)
    except BadPath as bad:
        scene.faults.append(placed.fault(at, *bad.args))
        return path


def _ignored(placed: Placed, spec: Mapping[str, Any], site: str, scene: _Scene) -> tuple[Ignored, ...]:
    found = []
    for number, entry in enumerate(values.ignored(spec.get("ignore", ()))):
        at = ("spec", "ignore", number, "path")
        path = _path(placed, at, entry.path, scene, embedded=site == EMBEDDED_SITE)
        if path == "/":
            scene.faults.append(placed.fault(at, "'/' ignores everything", "name what need not survive"))
        found.append(Ignored(path, entry.reason))
    return tuple(found)


def _expanded(placed: Placed, index: int, source: Source, site: str, scene: _Scene) -> Source:
    """The source with its paths written out; variables stand in those of files only."""
    at: tuple[Step, ...] = ("spec", "sources", index, source.kind)
    embedded = site == EMBEDDED_SITE
    if isinstance(source, FilesSource):
        paths = tuple(
            _path(placed, (*at, "paths", number), path, scene, embedded=embedded)
            for number, path in enumerate(source.paths)
        )
        patterns = tuple(
            _pattern(placed, (*at, "exclude", number), pattern, scene, embedded=embedded)
            for number, pattern in enumerate(source.exclude)
        )
        return replace(source, paths=paths, exclude=patterns)
    if isinstance(source, MaildirSource):
        return replace(source, path=_path(placed, (*at, "path"), source.path, scene, embedded=False))
    if isinstance(source, MariadbSource):
        return replace(source, datadir=_path(placed, (*at, "datadir"), source.datadir, scene, embedded=False))
    return source


def _pattern(placed: Placed, at: tuple[Step, ...], pattern: str, scene: _Scene, *, embedded: bool) -> str:
    """An exclude; one that begins as a path with a variable is written out like one."""
    if embedded and pattern.startswith(("~/", "${")):
        pattern = _path(placed, at, pattern, scene, embedded=True, quote=True)
    bad = bad_pattern(pattern)
    if bad:
        scene.faults.append(placed.fault(at, *bad))
    return pattern


def _protect(placed: Placed, index: int, source: Source, group: ProtectionGroup, scene: _Scene) -> None:
    """Claim the source's paths on every host; add it to the sources when hosts are known."""
    at: tuple[Step, ...] = ("spec", "sources", index, source.kind)
    paths, settings, key = _particulars(source)
    exclude = source.exclude if isinstance(source, FilesSource) else ()
    left_out = _left_out(exclude, group)
    unresolved = group.name in scene.unresolved
    pattern = f"({group.site} {_spec(placed).get('hosts')})"
    for host in (pattern,) if unresolved else group.hosts:
        shown_host = str(_spec(placed).get("hosts")) if unresolved else host
        address = Address(group.name, shown_host, source.name)
        for number, path in enumerate(paths):
            place = (*at, key, number) if key == "paths" else (*at, key)
            scene.claims.append(Claim(f"{group.site}/{host}", path, address, left_out, placed, place))
    for host in group.hosts:
        former = tuple(Address(old, host, source.name) for old in group.formerly)
        address = Address(group.name, host, source.name)
        scene.specs.append(
            SourceSpec(
                address=address,
                stream_id=stream_id(former[0] if former else address),
                kind=source.kind,
                site=group.site,
                paths=paths,
                rpo=group.objectives.rpo,
                rto=group.objectives.rto,
                consistency=group.consistency,
                retention=group.tiers,
                exclude=exclude,
                ignore=group.ignore,
                labels=group.labels,
                settings=settings,
                former_addresses=former,
            )
        )


def _left_out(exclude: Sequence[str], group: ProtectionGroup) -> Exclude:
    """Which whole paths a source leaves to others. Patterns that are wrong are faults already."""
    whole = [pattern for pattern in exclude if pattern.startswith("/") and not bad_pattern(pattern)]
    return compile_excludes([*whole, *(literal(ignored.path) for ignored in group.ignore if ignored.path != "/")])


def _particulars(source: Source) -> tuple[tuple[str, ...], dict[str, str], str]:
    """A source's paths, its settings, and the key that its paths stand under."""
    if isinstance(source, FilesSource):
        return source.paths, {}, "paths"
    if isinstance(source, MaildirSource):
        return (source.path,), {}, "path"
    if isinstance(source, MariadbSource):
        return (source.datadir,), {}, "datadir"
    assert isinstance(source, PostgresqlSource)
    return (), {"cluster": source.cluster}, "cluster"
