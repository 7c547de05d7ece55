"""A lab: real hosts with systemd and sshd in a network of their own, up in seconds, gone without a trace.

with Lab(topology.default("mine")) as lab:
    lab.hosts["sf-db1"].run(["systemctl", "is-system-running"])
    lab.site("sf").wan(delay_ms=40)
    lab.controller.run(["ssh", ...])
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.lab import access, record, roots, topology
from tests.lab.controller import Controller
from tests.lab.errors import LabError
from tests.lab.machine import Machine
from tests.lab.network import Network
from tests.lab.possible import require
from tests.lab.relay import Shape
from tests.lab.topology import Topology

AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class SiteLine:
    """A site's line to the rest of the world."""

    name: str
    network: Network

    def cut(self) -> None:
        self.network.cut(self.name)

    def heal(self) -> None:
        self.network.heal(self.name)

    def wan(self, *, delay_ms: float = 0.0, jitter_ms: float = 0.0, loss: float = 0.0, rate_mbit: float = 0.0) -> None:
        """Delay and jitter each way, loss from 0 to 1, rate each way; 0 is none."""
        self.network.shape(self.name, Shape(delay_ms, jitter_ms, loss, rate_mbit))


class Lab:
    """Use it as a `with` block, which takes it down whatever happens; or `up` and `down`, and `attach` in between."""

    def __init__(self, plan: Topology) -> None:
        self.topology = plan
        self.home = record.home_of(plan.name)
        self.cgroup = record.cgroup_of(plan.name)
        self.network = Network(plan, self.home, self.cgroup / "lines")
        self.controller = Controller(self.home, self.cgroup / "controller")
        self.hosts = {host.name: self._machine(host) for host in plan.hosts}

    @classmethod
    def attach(cls, name: str) -> Lab:
        """A lab that is up. Raises LabError when there is none."""
        file = record.home_of(name) / "topology.json"
        if not file.is_file():
            raise LabError(f"there is no lab {name!r}; bring it up: make lab")
        return cls(topology.read(file))

    def __enter__(self) -> Lab:
        self.up(owned=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def inventory(self) -> Path:
        """For Ansible: every site is a group, users and keys are set."""
        return self.home / "inventory.json"

    @property
    def known_hosts(self) -> Path:
        return self.home / "known_hosts"

    @property
    def ssh_key(self) -> Path:
        return self.home / "id_ed25519"

    def site(self, name: str) -> SiteLine:
        return SiteLine(self.topology.site(name).name, self.network)

    def up(self, *, owned: bool = False) -> None:
        """Everything on, sshd answering. An owned lab may be cleared by others once this process is dead."""
        require()
        for name in {host.root for host in self.topology.hosts}:
            roots.ensure(name)
        record.begin(self.topology, owned=owned)
        try:
            access.make_key(self.home)
            self.controller.prepare(self.topology.names())
            self.network.up()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(Machine.switch_on, self.hosts.values()))
            self._wait_until_up()
            access.write(self.topology, self.home)
        except BaseException:
            self.down()
            raise

    def _wait_until_up(self) -> None:
        """All at once. An interrupt doesn't wait for them: once the lab is down they give up."""
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            list(pool.map(Machine.wait_until_up, self.hosts.values()))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def down(self) -> None:
        """Nothing is left. Fine when it is down already."""
        record.clear(self.home)
        for machine in self.hosts.values():
            machine.gone()
        for line in self.network.lines:
            self.network.gone(line)

    def _machine(self, host: topology.Host) -> Machine:
        return Machine(host, self.home / "hosts" / host.name, self.cgroup / "hosts" / host.name, self.network)
