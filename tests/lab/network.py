"""The lab's network: a core, a router for each site, and lines between them that can be cut and made long.

    controller -- core -- router of a site -- bridge -- hosts

Each is a network namespace; each line is a pair of veth devices, or two TAP devices with a relay between them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.lab import namespaces
from tests.lab.errors import LabError
from tests.lab.relay import Shape
from tests.lab.shell import end_cgroup, joined
from tests.lab.topology import CONTROLLER, CORE_NET, Host, Topology

RELAY = Path(__file__).with_name("relay.py")


@dataclass(frozen=True, slots=True)
class Line:
    """Between device `near` in one namespace (the core, a router) and `far` in another (a router, a host)."""

    name: str
    near_namespace: Path
    near: str
    far_namespace: Path
    far: str
    near_up: tuple[str, ...]
    """Lines of ip(8) that make the near end work, again after a cut too."""
    far_up: tuple[str, ...]


@dataclass(slots=True)
class Network:
    """`home` is the lab's directory, `cgroup` where relays live."""

    topology: Topology
    home: Path
    cgroup: Path
    lines: dict[str, Line] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, site in enumerate(self.topology.sites):
            self.lines[site.name] = self._site_line(number, site.name, site.net)
        for host in self.topology.hosts:
            self.lines[host.name] = self._host_line(host)

    def namespace(self, name: str) -> Path:
        return self.home / "net" / name

    def router(self, site: str) -> Path:
        return self.namespace(f"router-{site}")

    @property
    def controller(self) -> Path:
        return self.namespace("controller")

    def up(self) -> None:
        core = self.namespace("core")
        namespaces.make(core)
        namespaces.forward(core)
        namespaces.make(self.controller)
        namespaces.ip(
            core,
            f"link add ctl type veth peer name eth0 netns {self.controller}",
            f"addr add {CORE_NET}.1/24 dev ctl",
            "link set ctl up",
        )
        namespaces.ip(
            self.controller,
            f"addr add {CONTROLLER}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {CORE_NET}.1",
        )
        for site in self.topology.sites:
            router = self.router(site.name)
            namespaces.make(router)
            namespaces.forward(router)
            namespaces.ip(router, "link add br0 type bridge", "link set br0 up", f"addr add {site.net}.1/24 dev br0")
            self.lay(self.lines[site.name])
        for host in self.topology.hosts:
            namespaces.make(self.namespace(host.name))
            self.lay(self.lines[host.name])

    def lay(self, line: Line) -> None:
        """A plain cable."""
        pair = f"link add {line.near} type veth peer name {line.far} netns {line.far_namespace}"
        namespaces.ip(line.near_namespace, pair)
        self._ends_up(line)

    def cut(self, name: str) -> None:
        """Nothing passes any more; what is being sent is lost without a word to either end."""
        line = self._line(name)
        namespaces.ip(line.near_namespace, f"link set {line.near} down")

    def heal(self, name: str) -> None:
        line = self._line(name)
        namespaces.ip(line.near_namespace, *line.near_up)

    def shape(self, name: str, shape: Shape) -> None:
        """Delay, jitter, loss and rate, from now on. The first time the cable becomes a relay, in a moment."""
        line = self._line(name)
        path = self.home / f"shape-{name}.json"
        half = path.with_suffix(".new")
        half.write_text(json.dumps(asdict(shape)))
        half.replace(path)
        if (self.cgroup / name).is_dir():
            return
        (self.cgroup / name).mkdir(parents=True)
        namespaces.ip(line.near_namespace, f"link del {line.near}")
        argv: list[str | Path] = [
            sys.executable,
            RELAY,
            line.near_namespace,
            line.near,
            line.far_namespace,
            line.far,
            path,
        ]
        with (self.home / f"relay-{name}.log").open("w") as log:
            process = subprocess.Popen(
                joined(self.cgroup / name, argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        assert process.stdout is not None
        with process.stdout:
            if process.stdout.readline() != b"ready\n":
                end_cgroup(self.cgroup / name)
                raise LabError(f"relay of {name}: {(self.home / f'relay-{name}.log').read_text()}")
        self._ends_up(line)

    def down(self) -> None:
        for file in (self.home / "net").glob("*"):
            namespaces.remove(file)

    def _ends_up(self, line: Line) -> None:
        namespaces.ip(line.near_namespace, *line.near_up)
        namespaces.ip(line.far_namespace, *line.far_up)

    def _line(self, name: str) -> Line:
        if name not in self.lines:
            raise LabError(f"no site or host {name!r} in this lab; there are {', '.join(self.lines)}")
        return self.lines[name]

    def _site_line(self, number: int, name: str, net: str) -> Line:
        near, far, device = f"169.254.{number}.1", f"169.254.{number}.2", f"wan{number}"
        return Line(
            name,
            self.namespace("core"),
            device,
            self.router(name),
            "wan",
            (
                f"addr replace {near} peer {far} dev {device}",
                f"link set {device} up",
                f"route replace {net}.0/24 via {far}",
            ),
            (f"addr replace {far} peer {near} dev wan", "link set wan up", f"route replace default via {near}"),
        )

    def _host_line(self, host: Host) -> Line:
        device, net = f"port{host.number}", self.topology.site(host.site).net
        return Line(
            host.name,
            self.router(host.site),
            device,
            self.namespace(host.name),
            "eth0",
            (f"link set {device} master br0", f"link set {device} up"),
            (
                f"addr replace {net}.{host.number}/24 dev eth0",
                "link set eth0 up",
                f"route replace default via {net}.1",
            ),
        )
