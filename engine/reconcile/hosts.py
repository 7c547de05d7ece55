"""Host patterns of policies, resolved through the sites' inventories; each fault is told in its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.model.errors import BcsError, UsageError
from engine.model.policy.documents import Fault
from engine.model.policy.site import Site
from engine.reconcile.load import Loaded, Placed, Step
from engine.reconcile.load_yaml import shown

ResolveHosts = Callable[[Site, str], Sequence[str]]
"""The hosts that an Ansible host pattern stands for in a site's inventory; [] when none.

Raises UsageError for what is no pattern, another BcsError for an inventory that can't be read.
"""


def resolver(loaded: Loaded) -> ResolveHosts:
    """Asks Ansible: once an inventory, for all patterns of the documents together, when the first one is needed."""
    patterns = set(patterns_of(loaded))
    answers: dict[str, Any] = {}

    def resolve_hosts(site: Site, pattern: str) -> Sequence[str]:
        from engine.deploy.inventory import listed

        if site.inventory not in answers:
            answers[site.inventory] = listed(Path(site.inventory), patterns)
        found = answers[site.inventory]
        if pattern in found.faults:
            raise UsageError(found.faults[pattern], hint="write a host pattern as Ansible takes it, for example db:&sf")
        hosts: Sequence[str] = found.hosts[pattern]
        return hosts

    return resolve_hosts


def patterns_of(loaded: Loaded) -> Iterator[str]:
    """Every pattern and name of hosts in the documents, those of groups, of agents and of nodes."""
    for placed in loaded.documents:
        spec = placed.document.raw["spec"]
        if placed.document.kind == "Site":
            yield from (node["host"] for node in spec["nodes"])
            spec = spec.get("agent", {})
        if "hosts" in spec:
            yield spec["hosts"]


class Hosts:
    """Resolves the patterns of one set of documents, and adds to its faults."""

    def __init__(self, sites: Mapping[str, Placed], resolve_hosts: ResolveHosts | None, faults: list[Fault]) -> None:
        self._sites, self._resolve, self._faults = sites, resolve_hosts, faults
        self._unreadable: set[str] = set()
        self._owners: dict[tuple[str, str], str] = {}

    @property
    def known(self) -> bool:
        """Whether there is somebody to ask."""
        return self._resolve is not None

    def of_group(self, placed: Placed, spec: Mapping[str, Any], site: Site) -> tuple[str, ...]:
        """The hosts of a group; none is a fault unless it allows that."""
        hosts = self._hosts(placed, ("spec", "hosts"), spec["hosts"], site)
        if hosts == () and not spec.get("allowNoHosts", False):
            self._none(placed, ("spec", "hosts"), spec["hosts"], site, ", or write allowNoHosts: true")
        return hosts or ()

    def to_restore_to(self, site: Site) -> tuple[str, ...]:
        """The hosts that get an agent though nothing on them is protected."""
        if not site.agent.hosts or not site.inventory:
            return ()
        at, placed = ("spec", "agent", "hosts"), self._sites[site.name]
        hosts = self._hosts(placed, at, site.agent.hosts, site)
        if hosts == ():
            self._none(placed, at, site.agent.hosts, site, "")
        return hosts or ()

    def check_nodes(self, site: Site) -> None:
        """A fault for each node whose host the inventory doesn't have."""
        if not site.inventory:
            return
        placed = self._sites[site.name]
        declared = placed.document.raw["spec"]["inventory"]
        for number, node in enumerate(site.nodes):
            at = ("spec", "nodes", number, "host")
            found = self._ask(placed, at, node.host, site)
            if found is not None and list(found) != [node.host]:
                message = f"the node {shown(node.host)} is no host of the inventory {shown(declared)}"
                self._faults.append(placed.fault(at, message, "name it as the inventory does, or add it there"))

    def _hosts(self, placed: Placed, at: tuple[Step, ...], pattern: str, site: Site) -> tuple[str, ...] | None:
        """The hosts, sorted; None where a fault says why they are not known."""
        found = self._ask(placed, at, pattern, site)
        if found is None:
            return None
        hosts = tuple(sorted(set(found)))
        self._faults += self._misnamed(placed, at, hosts)
        self._faults += self._shared(placed, at, hosts, site)
        return hosts

    def _ask(self, placed: Placed, at: tuple[Step, ...], pattern: str, site: Site) -> Sequence[str] | None:
        if self._resolve is None or site.name in self._unreadable:
            return None
        try:
            return self._resolve(site, pattern)
        except UsageError as error:
            self._faults.append(placed.fault(at, error.message, error.hint))
        except BcsError as error:
            self._unreadable.add(site.name)
            declared = self._sites[site.name]
            where, path = (declared, ("spec", "inventory")) if declared.document.file else (placed, at)
            self._faults.append(where.fault(path, error.message, error.hint))
        return None

    def _none(self, placed: Placed, at: tuple[Step, ...], pattern: str, site: Site, otherwise: str) -> None:
        message = f"{shown(pattern)} matches no host of the site {shown(site.name)}"
        self._faults.append(placed.fault(at, message, f"correct the pattern or the inventory{otherwise}"))

    def _misnamed(self, placed: Placed, at: tuple[Step, ...], hosts: Iterable[str]) -> Iterator[Fault]:
        for host in hosts:
            if "/" in host or ":" in host or not host.isprintable() or " " in host:
                message = f"the host name {shown(host)} can't be part of an address"
                yield placed.fault(at, message, "use names without /, : and spaces in the inventory")

    def _shared(self, placed: Placed, at: tuple[Step, ...], hosts: Iterable[str], site: Site) -> Iterator[Fault]:
        """One machine has one agent, which sends to one site. Names of other inventories are other machines."""
        inventory = os.path.realpath(site.inventory)
        for host in hosts:
            owner = self._owners.setdefault((inventory, host), site.name)
            if owner != site.name:
                message = f"the host {shown(host)} belongs to the site {shown(owner)} already"
                yield placed.fault(at, message, "a host's agent sends to one site: narrow one of the patterns")
                return


def inventory_of(relative: str, folders: Iterable[Path]) -> str:
    """The inventory of a Site document that comes from no file: looked for in each folder and those above it."""
    for folder in folders:
        start = folder.absolute()
        for above in (start, *start.parents):
            if (above / relative).exists():
                return str(above / relative)
            if (above / ".git").exists():
                break
    return relative
