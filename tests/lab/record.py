"""What a lab notes of itself before it starts anything, so that whoever comes later can clear it by what is noted.

Everything of a lab is found by three things: its cgroup (all processes), its directory (disks, and the namespaces
mounted in it), and loop devices over files of that directory, which go with the processes.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab import namespaces, topology
from tests.lab.errors import LabError
from tests.lab.roots import cache
from tests.lab.shell import cgroups, end_cgroup, wait_for
from tests.lab.topology import Topology


@dataclass(frozen=True, slots=True)
class Record:
    """`owner` is the process whose end ends the lab: its id and its start time in ticks, or none."""

    cgroup: Path
    owner: tuple[int, int] | None


def home_of(name: str) -> Path:
    return cache() / "labs" / name


def cgroup_of(name: str) -> Path:
    return cgroups() / f"bcs-lab-{name}"


def begin(plan: Topology, *, owned: bool) -> Path:
    """A lab's new directory with its record; what a dead lab of that name left is cleared first."""
    home = home_of(plan.name)
    refuse_if_alive(home)
    clear(home)
    clear_dead()
    home.mkdir(parents=True)
    owner = (os.getpid(), started(os.getpid())) if owned else None
    topology.write(plan, home / "topology.json")
    (home / "record.json").write_text(json.dumps({"cgroup": str(cgroup_of(plan.name)), "owner": owner}))
    return home


def read(home: Path) -> Record | None:
    """None when there is no lab, or it had not come so far as to start anything."""
    with suppress(OSError, ValueError):
        value = json.loads((home / "record.json").read_text())
        return Record(Path(value["cgroup"]), tuple(value["owner"]) if value["owner"] else None)
    return None


def refuse_if_alive(home: Path) -> None:
    """Raises LabError when the lab belongs to a living process, or to nobody and is up."""
    record = read(home)
    if record is None:
        return
    if record.owner is None and record.cgroup.is_dir():
        raise LabError(f"lab {home.name} is up already; take it down first: make lab ARGS=down")
    if record.owner is not None and record.owner[0] != os.getpid() and started(record.owner[0]) == record.owner[1]:
        raise LabError(f"lab {home.name} belongs to process {record.owner[0]}, which is running")


def clear(home: Path) -> None:
    """End and remove everything of the lab. Fine when there is nothing; raises LabError when something stays."""
    record = read(home)
    if record is not None:
        end_cgroup(record.cgroup)
    for file in (home / "net").glob("*"):
        namespaces.remove(file)

    def removed() -> bool:
        shutil.rmtree(home, ignore_errors=True)
        return not home.exists()

    wait_for(removed, 120, f"{home} to be removed")


def clear_dead() -> None:
    """Clear what labs left whose owners were killed, of whatever name."""
    for home in (cache() / "labs").glob("*"):
        record = read(home)
        if record is not None and record.owner is not None and started(record.owner[0]) != record.owner[1]:
            clear(home)


def started(pid: int) -> int:
    """When the process was started, in clock ticks since boot, see proc_pid_stat(5); 0 when there is none."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] == "Z" else int(fields[19])
    return 0
