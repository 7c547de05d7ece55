"""This project measured: a running site is given a source, and its baseline is timed until it is restorable.

The node and the agent run already, as they do in use. The clock starts when the policy is
applied and stops when status says `protected`; CPU and memory are those of both processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.peers import Measured, run_measured, stored
from tests.embedded import Site

ADDRESS = "bench/localhost/files"


class Ours:
    name = "bcs"

    def __init__(self, place: Path) -> None:
        self.home = place / "bcs"
        self.site: Site | None = None
        self.agent_memory_bytes = 0

    @staticmethod
    def version() -> str:
        command = [sys.executable, "-m", "bcsctl", "--version"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def backup(self, tree: Path) -> Measured:
        self.close()
        shutil.rmtree(self.home, ignore_errors=True)
        self.site = Site(self.home).start()
        site = self.site
        site.wait(lambda: bool(site.request("GET", "/v1/health")["agents"]), 30, "the agent to come")
        cpu = self._cpu_seconds()
        start = time.perf_counter()
        site.protect(ADDRESS, tree)
        site.wait_protected(ADDRESS, 300)
        wall = time.perf_counter() - start
        self.agent_memory_bytes = _peak(site.agent.pid) if site.agent else 0
        memory = max(self.agent_memory_bytes, _peak(site.node.pid) if site.node else 0)
        return Measured(wall, self._cpu_seconds() - cpu, memory, stored(self.home / "journal"))

    def restore(self, target: Path) -> Measured:
        if self.site is None:
            raise RuntimeError("there is no backup to restore")
        command = [sys.executable, "-m", "bcsctl", "restore", ADDRESS, "--to", str(target)]
        return run_measured(command, self.site.environment, self.home)

    def close(self) -> None:
        if self.site:
            self.site.stop()
            self.site = None

    def _cpu_seconds(self) -> float:
        if self.site is None:
            return 0.0
        processes = [process.pid for process in (self.site.node, self.site.agent) if process]
        return sum(_cpu(pid) for pid in processes)


def _cpu(pid: int) -> float:
    """User and system seconds of a process and of its children that have ended (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    """The most memory a process has had resident, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
