"""A host goes down, or all of a recovery is killed, while a tree on it is not filled: nobody reads zeros there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.fixture import running
from tests.lab.machine import Machine
from tests.lab.program import BCSCTL, host_with_program
from tests.lab.shell import wait_for
from tests.lab.topology import SF, Host, Topology, Volume

BCS = {"BCS_HOME": "/var/lib/bcs"}
POLICIES, ADDRESS = "/srv/policies", "my-files/localhost/files"
BACK = "/srv/volume/back"
FILES = 4000
SECONDS = 120.0
MAKE = f"""
mkdir -p {POLICIES}/data/many && cd {POLICIES}/data/many
python3 -c 'for n in range({FILES}): open(str(n), "wb").write(bytes([n % 255 + 1]) * 8192)'
"""
READER = f"""
import os, sys, time
log = open("/var/log/" + sys.argv[1], "a", buffering=1)
for number in range(int(sys.argv[2]), {FILES}, 4):
    log.write(f"{{number}} ")
    with open(f"{BACK}/many/{{number}}", "rb") as file:
        data = file.read(4096)
    log.write("zeros\\n" if data.count(0) else "right\\n")
    time.sleep(0.1)
"""
"""Each file once: all that it reads is cold. It takes minutes, longer than anybody looks at it."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    plain = host_with_program("sf-last", "sf", 10, tmp_path_factory.mktemp("program"))
    host = Host(plain.name, plain.site, plain.number, plain.root, (Volume("/srv/volume", "xfs"),), nspawn=plain.nspawn)
    with running(Topology("endslast", (SF,), (host,))) as lab:
        yield lab.hosts[host.name]


def bcsctl(machine: Machine, *arguments: str) -> dict[str, Any]:
    value = json.loads(machine.run([*BCSCTL, *arguments, "--json"], environment=BCS).stdout)
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="module")
def recovered(machine: Machine) -> str:
    """The id of a recovery of a tree in which nothing is filled that nobody reads."""
    machine.run([*BCSCTL, "init", POLICIES], environment=BCS)
    machine.run(["sh", "-ec", MAKE])
    assert bcsctl(machine, "apply", "--yes", "--wait", POLICIES)["converged"]
    assert all(mark["done"] for mark in bcsctl(machine, "mark", "my-files", "--label", "all")["marks"])
    told = bcsctl(
        machine, "restore", ADDRESS, "--to", BACK, "--on-demand", "--mechanism", "pre-access", "--rate", "1KiB"
    )
    assert told["lasting"], "on xfs it lasts; not on ext4, whose setting no container reaches"
    machine.write("/usr/local/bin/reader", READER)
    return str(told["id"])


def pids(machine: Machine, id: str) -> dict[str, str]:
    found = {}
    for role in ("supervisor", "filler", "holder"):
        script = f"p=$(cat /var/lib/bcs/recoveries/{id}/{role}.pid) && test -d /proc/$p && echo $p"
        found[role] = machine.run(["sh", "-c", script], check=False).stdout.strip()
    return found


def start_reader(machine: Machine, name: str, first: int, *how: str) -> None:
    """As a service; with `how` it is to be, as one that nobody kills."""
    script = f"exec -a {'@' if how else ''}reader python3 /usr/local/bin/reader {name} {first}"
    machine.run(["systemd-run", f"--unit={name}", *how, "--", "bash", "-c", script])


def read_by(machine: Machine, name: str) -> list[str]:
    return machine.run(["cat", f"/var/log/{name}"], check=False).stdout.splitlines()


def test_systemd_holds_what_all_of_them_held(machine: Machine, recovered: str) -> None:
    """All killed at once, again and again, under a reader: he reads nothing wrong, and all of them are back."""
    start_reader(machine, "midst", 0)
    for _ in range(3):
        wait_for(lambda: all(pids(machine, recovered).values()), SECONDS, "all three to live")
        before = pids(machine, recovered)
        machine.run(["sh", "-c", f"kill -STOP {' '.join(before.values())}; kill -KILL {' '.join(before.values())}"])
        wait_for(
            lambda before=before: not set(before.values()) & set(pids(machine, recovered).values()),
            SECONDS,
            "others in their place",
        )
        so_far = len(read_by(machine, "midst"))
        wait_for(lambda so_far=so_far: len(read_by(machine, "midst")) > so_far + 3, SECONDS, "the reader to go on")
    machine.run(["systemctl", "stop", "midst"])
    assert [line for line in read_by(machine, "midst") if line.endswith("zeros")] == []
    found = bcsctl(machine, "recover", "list")["recoveries"][0]
    assert found["written_unguarded"] == [] and found["state"] == "filling"


def test_nobody_reads_zeros_while_the_host_goes_down(machine: Machine, recovered: str) -> None:
    """Nor he who is killed by nobody, as a daemon of root storage is not."""
    start_reader(machine, "service", 1)
    start_reader(machine, "last", 2, "--property=DefaultDependencies=no", "--property=KillMode=none")
    wait_for(lambda: len(read_by(machine, "last")) > 5, SECONDS, "readers to read")
    machine.reboot()
    for name in ("service", "last"):
        lines = read_by(machine, name)
        assert [line for line in lines if line.endswith("zeros")] == [], name
    assert not read_by(machine, "last")[-1].endswith("right"), "it waited when the kernel stopped"


def test_after_the_boot_the_agent_begins_it_again(machine: Machine, recovered: str) -> None:
    """By itself: nobody asks for it. It goes on from what was filled before."""
    first = ["head", "-c", "1", f"{BACK}/many/3"]
    wait_for(lambda: machine.run(first, check=False).returncode == 0, SECONDS, "the agent to have it guarded again")
    start_reader(machine, "after", 3)
    wait_for(lambda: len(read_by(machine, "after")) > 5, SECONDS, "a reader to read")
    [found] = bcsctl(machine, "recover", "list")["recoveries"]
    assert found["written_unguarded"] == [] and found["state"] == "filling", found
    assert bcsctl(machine, "recover", "finish", recovered)["state"] == "ended"
    machine.run(["systemctl", "stop", "after"])
    assert [line for line in read_by(machine, "after") if line.endswith("zeros")] == []
    machine.run(["diff", "-r", f"{POLICIES}/data/many", f"{BACK}/many"])
