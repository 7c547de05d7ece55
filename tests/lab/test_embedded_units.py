"""The embedded site on a machine with systemd: node and agent are units, there after a boot, there after a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.reconcile import units
from tests.lab.fixture import running
from tests.lab.machine import Machine
from tests.lab.program import BCSCTL, host_with_program
from tests.lab.shell import wait_for
from tests.lab.topology import SF, Topology

HOME = "/var/lib/bcs"
POLICIES = "/srv/policies"
DATA = f"{POLICIES}/data"
ADDRESS = "my-files/localhost/files"
UNITS = {role: units.name(role, Path(HOME)) for role in ("node", "agent")}
BCS = {"BCS_HOME": HOME}
SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Administrator:
    """Root on one machine, who types commands."""

    machine: Machine

    def bcsctl(self, *arguments: str) -> dict[str, Any]:
        said = self.machine.run([*BCSCTL, *arguments, "--json"], environment=BCS)
        value = json.loads(said.stdout)
        assert isinstance(value, dict)
        return value

    def shell(self, script: str, *, check: bool = True) -> str:
        return self.machine.run(["sh", "-c", script], check=check).stdout.strip()

    def pid(self, role: str) -> str:
        """The process of a role's unit, 0 when there is none."""
        return self.shell(f"systemctl show -P MainPID {UNITS[role]}")

    def active(self) -> bool:
        """Both units run, and the node answers."""
        return self.shell(f"systemctl is-active {' '.join(UNITS.values())}", check=False) == "active\nactive"

    def write(self, text: str) -> None:
        """Change the protected file and wait until the change is committed."""
        self.shell(f"printf %s '{text}' >{DATA}/ledger")
        wait_for(lambda: self.ledger() == text, SECONDS, f"{text!r} to be committed")

    def ledger(self) -> str:
        command = [*BCSCTL, "cat", f"{ADDRESS}:{DATA}/ledger"]
        return self.machine.run(command, environment=BCS, check=False).stdout

    def ours(self) -> str:
        """Every process, unit and unit file of ours on the machine."""
        return self.shell(
            "pgrep -af 'engine[.]agent|bcsctl[ ]serve'; systemctl list-units --all --plain --no-legend 'bcs-*';"
            "ls /etc/systemd/system /etc/systemd/system/*.wants | grep bcs-",
            check=False,
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    host = host_with_program("sf-alone", "sf", 10, tmp_path_factory.mktemp("program"))
    with running(Topology("embedded", (SF,), (host,))) as lab:
        yield lab.hosts[host.name]


@pytest.fixture
def admin(machine: Machine) -> Administrator:
    """Policies in a repository, applied."""
    admin = Administrator(machine)
    if not admin.shell(f"ls -d {POLICIES}", check=False):
        machine.run([*BCSCTL, "init", POLICIES], environment=BCS)
    assert admin.bcsctl("apply", "--yes", "--wait", POLICIES)["converged"]
    return admin


def test_apply_makes_units_that_start_at_boot(admin: Administrator) -> None:
    assert admin.shell(f"systemctl is-enabled {' '.join(UNITS.values())}") == "enabled\nenabled"
    assert admin.active()
    again = admin.bcsctl("apply", "--yes", POLICIES)
    assert again["noop"], again
    admin.write("before the power went")
    before = admin.bcsctl("points", ADDRESS)["count"]

    admin.machine.power_off()
    admin.machine.power_on()
    wait_for(admin.active, SECONDS, "both units after the boot")
    wait_for(lambda: admin.ledger() == "before the power went", SECONDS, "the node to answer after the boot")
    admin.write("after it came back")
    assert admin.bcsctl("points", ADDRESS)["count"] > before
    again = admin.bcsctl("apply", "--yes", POLICIES)
    assert again["noop"], again


@pytest.mark.parametrize("role", ["node", "agent"])
def test_a_killed_process_comes_back(admin: Administrator, role: str) -> None:
    pid = admin.pid(role)
    assert int(pid) > 0
    admin.shell(f"kill -9 {pid}")
    wait_for(lambda: admin.pid(role) not in ("0", pid) and admin.active(), SECONDS, f"the {role} to come back")
    admin.write(f"after the {role} was killed")


def test_down_leaves_nothing_and_apply_brings_it_back(admin: Administrator) -> None:
    admin.write("the history stays")
    admin.bcsctl("down")
    assert admin.ours() == ""
    admin.machine.reboot()
    assert admin.ours() == "", "not at the next boot either"
    assert admin.bcsctl("apply", "--yes", "--wait", POLICIES)["converged"]
    assert admin.active() and admin.ledger() == "the history stays"
    admin.write("and goes on")
