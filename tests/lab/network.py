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


def mac(*numbers: int) -> str:
    """A hardware address that stays when a device is made anew, so that nobody asks the old one."""
    return "02:" + ":".join(f"{number:02x}" for number in [0] * (5 - len(numbers)) + list(numbers))


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
    near_cut: tuple[str, ...]
    far_cut: tuple[str, ...]


@dataclass(slots=True)
class Network:
    """`home` is the lab's directory, `cgroup` where relays live."""

    topology: Topology
    home: Path
    cgroup: Path
    lines: dict[str, Line] = field(default_factory=dict)
    relays: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

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

    def plug(self, host: Host) -> None:
        """A host that is switched on gets an interface, on a line that is as long, or as cut, as it was."""
        namespaces.make(self.namespace(host.name))
        self.lay(self.lines[host.name])

    def unplug(self, host: Host) -> None:
        """The plug is pulled: from now on nothing leaves the host, not even the ends of its connections."""
        line = self.lines[host.name]
        if not line.far_namespace.exists():
            return
        self._take_away(line)
        namespaces.forget_connections(line.far_namespace)

    def lay(self, line: Line) -> None:
        """A plain cable, or a relay if there is a shape for it."""
        if self._shape_file(line).exists():
            self._relay(line)
        else:
            pair = f"link add {line.near} type veth peer name {line.far} netns {line.far_namespace}"
            namespaces.ip(line.near_namespace, pair)
        if self._cut_file(line).exists():
            self._ends_up(line)
            self._ends_cut(line)
        else:
            self._ends_up(line)

    def cut(self, name: str) -> None:
        """Nothing passes any more. At a site, both ends lose what is sent without a word, as the world outside does."""
        line = self._line(name)
        self._cut_file(line).touch()
        if line.far_namespace.exists():
            self._ends_cut(line)

    def heal(self, name: str) -> None:
        line = self._line(name)
        self._cut_file(line).unlink(missing_ok=True)
        if line.far_namespace.exists():
            self._ends_up(line)

    def shape(self, name: str, shape: Shape) -> None:
        """Delay, jitter, loss and rate, from now on. The first time the cable becomes a relay, in a moment."""
        line = self._line(name)
        file = self._shape_file(line)
        first = not file.exists()
        half = file.with_suffix(".new")
        half.write_text(json.dumps(asdict(shape)))
        half.replace(file)
        if first and line.far_namespace.exists():
            self._take_away(line)
            self.lay(line)

    def _relay(self, line: Line) -> None:
        """Start the relay; its devices are there when it says so."""
        cgroup, log = self.cgroup / line.name, self.home / f"relay-{line.name}.log"
        cgroup.mkdir(parents=True)
        ends = (line.near_namespace, line.near, line.far_namespace, line.far)
        argv = [sys.executable, RELAY, *ends, self._shape_file(line)]
        with log.open("w") as errors:
            process = subprocess.Popen(
                joined(cgroup, [*map(str, argv)]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
        assert process.stdout is not None
        with process.stdout:
            if process.stdout.readline() != b"ready\n":
                end_cgroup(cgroup)
                raise LabError(f"relay of {line.name}: {log.read_text()}")
        self.relays[line.name] = process

    def _take_away(self, line: Line) -> None:
        """The devices at both ends are gone."""
        if (self.cgroup / line.name).is_dir():
            end_cgroup(self.cgroup / line.name)
            self.gone(line.name)
        else:
            namespaces.ip(line.near_namespace, f"link del {line.near}")

    def gone(self, name: str) -> None:
        """The relay of that line has been ended: let go of it."""
        if name in self.relays:
            self.relays.pop(name).wait(120)

    def _shape_file(self, line: Line) -> Path:
        return self.home / f"shape-{line.name}.json"

    def _cut_file(self, line: Line) -> Path:
        return self.home / f"cut-{line.name}"

    def _ends_cut(self, line: Line) -> None:
        namespaces.ip(line.near_namespace, *line.near_cut)
        namespaces.ip(line.far_namespace, *line.far_cut)

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
                f"link set {device} address {mac(254, number, 1)}",
                f"addr replace {near} peer {far} dev {device}",
                f"link set {device} up",
                f"route replace {net}.0/24 via {far}",
            ),
            (
                f"link set wan address {mac(254, number, 2)}",
                f"addr replace {far} peer {near} dev wan",
                "link set wan up",
                f"route replace default via {near}",
            ),
            (f"link set {device} down", f"route replace blackhole {net}.0/24"),
            ("route replace blackhole default",),
        )

    def _host_line(self, host: Host) -> Line:
        site = self.topology.site(host.site)
        device, net = f"port{host.number}", site.net
        return Line(
            host.name,
            self.router(host.site),
            device,
            self.namespace(host.name),
            "eth0",
            (f"link set {device} master br0", f"link set {device} up"),
            (
                f"link set eth0 address {mac(site.number, host.number)}",
                f"addr replace {net}.{host.number}/24 dev eth0",
                "link set eth0 up",
                f"route replace default via {net}.1",
            ),
            (f"link set {device} down",),
            (),
        )
