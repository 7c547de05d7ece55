"""What a lab is made of, as values: sites with a network each, hosts with a disk root and volumes.

Addresses are the lab's own: nothing of them is seen outside its namespaces, so labs may share them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

CORE_NET = "10.77.0"
CONTROLLER = f"{CORE_NET}.10"
PYTHON_OF_BOOKWORM = ("/usr/bin/python3", "/usr/bin/python3.11")


@dataclass(frozen=True, slots=True)
class Volume:
    """A file system of its own on a loop device."""

    path: str
    filesystem: str = "ext4"  # ext4, xfs (300 MiB at least) or btrfs (110 MiB at least)
    size_mib: int = 320


@dataclass(frozen=True, slots=True)
class Host:
    """A machine. `number` is the last part of its address in the site's network."""

    name: str
    site: str
    number: int
    root: str = "bookworm"
    volumes: tuple[Volume, ...] = ()
    hidden: tuple[str, ...] = ()
    """Files of the root that this host doesn't have, such as PYTHON_OF_BOOKWORM."""
    nspawn: tuple[str, ...] = ()
    """More arguments for systemd-nspawn, such as --bind-ro=SOURCE:TARGET."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place with a router. `number` is the third part of its addresses: 10.77.NUMBER.0/24."""

    name: str
    number: int

    @property
    def net(self) -> str:
        return f"10.77.{self.number}"


@dataclass(frozen=True, slots=True)
class Topology:
    """`name` is at most 20 letters: of two labs with one name, the later clears what a dead one left."""

    name: str
    sites: tuple[Site, ...]
    hosts: tuple[Host, ...]

    def site(self, name: str) -> Site:
        return next(site for site in self.sites if site.name == name)

    def address(self, host: Host) -> str:
        return f"{self.site(host.site).net}.{host.number}"

    def names(self) -> str:
        """/etc/hosts, the same everywhere in the lab."""
        lines = ["127.0.0.1 localhost", *(f"{self.address(host)} {host.name}" for host in self.hosts)]
        return "\n".join([*lines, f"{CONTROLLER} ctl", ""])


SF = Site("sf", 1)
NODE = Host("sf-bcs1", "sf", 10)
DATABASE = Host("sf-db1", "sf", 11)
MAIL = Host("sf-mail1", "sf", 12)
SPARE = Host("sf-db3", "sf", 13)


def default(name: str = "lab") -> Topology:
    """One node host, two protected hosts and a spare to restore to."""
    return Topology(name, (SF,), (NODE, DATABASE, MAIL, SPARE))


def write(topology: Topology, path: Path) -> None:
    path.write_text(json.dumps(asdict(topology), indent=1))


def read(path: Path) -> Topology:
    value = json.loads(path.read_text())
    hosts = [
        Host(
            **{
                **host,
                "volumes": tuple(Volume(**volume) for volume in host["volumes"]),
                "hidden": tuple(host["hidden"]),
                "nspawn": tuple(host["nspawn"]),
            }
        )
        for host in value["hosts"]
    ]
    return Topology(value["name"], tuple(Site(**site) for site in value["sites"]), tuple(hosts))
