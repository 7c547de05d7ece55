"""The administrator's machine: this machine's files, in the lab's network, where names of hosts are known.

Commands run with a home directory of the lab, so credentials and caches of whoever runs the tests stay as they are.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab import namespaces
from tests.lab.machine import checked, completed
from tests.lab.shell import joined

NAMES = 'mount --bind "$1" /etc/hosts && mount --bind /dev/null /etc/resolv.conf && shift && exec "$@"'
LEFT_OUT = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "SSH_AUTH_SOCK")


@dataclass(frozen=True, slots=True)
class Controller:
    """`home` is the lab's directory, `cgroup` where the commands live: they end with the lab at the latest."""

    home: Path
    cgroup: Path

    @property
    def namespace(self) -> Path:
        return self.home / "net" / "controller"

    @property
    def user_home(self) -> Path:
        return self.home / "controller"

    def prepare(self, names: str) -> None:
        self.cgroup.mkdir(parents=True, exist_ok=True)
        self.user_home.mkdir(mode=0o700)
        (self.home / "hosts.txt").write_text(names)

    def inside(self, argv: Sequence[str | Path]) -> list[str]:
        """The command as one of this machine that runs in the lab's network."""
        unshare = ["unshare", "--mount", "--propagation=slave"]
        enter = ["nsenter", f"--net={self.namespace}", *unshare, "sh", "-c", NAMES, "sh"]
        return joined(self.cgroup, [*enter, self.home / "hosts.txt", *argv])

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT and name[:4] != "BCS_"}
        return {**kept, "HOME": str(self.user_home), "NO_COLOR": "1", **(more or {})}

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: str | None = None,
        check: bool = True,
        timeout_seconds: float = 300.0,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command. With `check`, raises LabError when it fails, with what it said."""
        done = completed(self.inside(argv), stdin, timeout_seconds, self.environment(environment), cwd)
        return checked(done, " ".join(map(str, argv))) if check else done

    def popen(
        self, argv: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command and don't wait."""
        return subprocess.Popen(
            self.inside(argv), errors="backslashreplace", env=self.environment(environment), **options
        )

    def connect(self, address: str, port: int, timeout_seconds: float = 120.0) -> socket.socket:
        """A connection from the lab's network, for this process. `address` is a number, not a name."""
        return namespaces.inside(self.namespace, lambda: socket.create_connection((address, port), timeout_seconds))
