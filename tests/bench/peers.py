"""Restic and borg as their users run them, measured from outside as whole processes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: wall and CPU seconds, the largest process's memory in bytes, bytes stored after it."""

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    stored_bytes: int = 0


def run_measured(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Measured:
    """Run a command to its end. RuntimeError with its last lines when it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {output[-800:].decode(errors='replace')}")
    return Measured(wall, _cpu(usage), usage.ru_maxrss * 1024)


def and_synced(done: Measured, target: Path) -> Measured:
    """A restore that leaves its bytes in memory, with the time until they are on the disk, as ours are."""
    synced = run_measured(["sync", "-f", str(target)], {}, target)
    return Measured(
        done.wall_seconds + synced.wall_seconds,
        done.cpu_seconds + synced.cpu_seconds,
        done.memory_bytes,
        done.stored_bytes,
    )


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def stored(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


class Restic:
    name = "restic"

    def __init__(self, place: Path) -> None:
        self.repository = place / "restic"
        self.environment = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": str(place / "restic-cache")}

    @staticmethod
    def version() -> str:
        return subprocess.run(["restic", "version"], capture_output=True, text=True).stdout.split("compiled")[0].strip()

    def backup(self, tree: Path) -> Measured:
        for path in (self.repository, Path(self.environment["RESTIC_CACHE_DIR"])):
            shutil.rmtree(path, ignore_errors=True)
        command = ["restic", "-q", "-r", str(self.repository)]
        run_measured([*command, "init"], self.environment, tree)
        done = run_measured([*command, "backup", "."], self.environment, tree)
        return Measured(done.wall_seconds, done.cpu_seconds, done.memory_bytes, stored(self.repository))

    def restore(self, target: Path) -> Measured:
        target.mkdir(parents=True)
        command = ["restic", "-q", "-r", str(self.repository), "restore", "latest", "--target", str(target)]
        return and_synced(run_measured(command, self.environment, target), target)


class Borg:
    name = "borg"

    def __init__(self, place: Path) -> None:
        self.repository = place / "borg"
        base = place / "borg-base"
        self.environment = {
            "BORG_PASSPHRASE": "bench",
            "BORG_BASE_DIR": str(base),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        self.base = base

    @staticmethod
    def version() -> str:
        return subprocess.run(["borg", "--version"], capture_output=True, text=True).stdout.strip()

    def backup(self, tree: Path) -> Measured:
        for path in (self.repository, self.base):
            shutil.rmtree(path, ignore_errors=True)
        self.base.mkdir()
        run_measured(["borg", "init", "-e", "repokey-blake2", str(self.repository)], self.environment, tree)
        create = ["borg", "create", "-C", "zstd,1", f"{self.repository}::a", "."]
        done = run_measured(create, self.environment, tree)
        return Measured(done.wall_seconds, done.cpu_seconds, done.memory_bytes, stored(self.repository))

    def restore(self, target: Path) -> Measured:
        target.mkdir(parents=True)
        return and_synced(run_measured(["borg", "extract", f"{self.repository}::a"], self.environment, target), target)
