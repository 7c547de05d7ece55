"""A PostgreSQL cluster as an application on a tree: made, started, worked with, stopped, examined."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.workloads import POSTGRES

USER = "postgres"
POSSIBLE = bool(POSTGRES) and os.geteuid() == 0 and shutil.which("pgbench") is not None
START_SECONDS = 180.0


@dataclass
class Cluster:
    """The data directory `data`, which user postgres must be able to reach."""

    data: Path
    settings: tuple[str, ...] = ("autovacuum=off", "shared_buffers=32MB")
    server: subprocess.Popen[bytes] | None = None
    sockets: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="bcs-pg-")))

    def make(self, scale: int) -> None:
        """A new one, with checksums, filled by pgbench; it runs afterwards."""
        user = pwd.getpwnam(USER)
        self.data.mkdir(parents=True)
        os.chown(self.data, user.pw_uid, user.pw_gid)
        self.run("initdb", "-k", "-A", "trust", "-U", USER, "-D", str(self.data))
        self.start()
        self.bench("-i", "-q", "-s", str(scale))

    def start(self) -> None:
        """Returns when it answers."""
        os.chown(self.sockets, pwd.getpwnam(USER).pw_uid, -1)
        given = ["listen_addresses=", f"unix_socket_directories={self.sockets}", *self.settings]
        command = [str(POSTGRES[-1]), "-D", str(self.data), *(word for each in given for word in ("-c", each))]
        with (self.sockets / "log").open("ab") as log:
            self.server = subprocess.Popen(
                command, user=USER, group=USER, extra_groups=[], cwd="/", stdout=log, stderr=log, start_new_session=True
            )
        ready = [str(POSTGRES[-1].parent / "pg_isready"), "-q", "-h", str(self.sockets), "-t", "1"]
        while subprocess.run(ready).returncode:
            assert self.server.poll() is None, self.log()

    def stop(self) -> None:
        """Cleanly (a fast shutdown); nothing when it does not run."""
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            assert self.server.wait(120) == 0, self.log()
            self.server = None

    def close(self) -> None:
        """It and all of its processes are gone, whatever they were doing."""
        if self.server is not None:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait(120)
            self.server = None
        shutil.rmtree(self.sockets, ignore_errors=True)

    def run(self, program: str, *arguments: str) -> str:
        """One of PostgreSQL's programs, as its user."""
        done = subprocess.run(
            [str(POSTGRES[-1].parent / program), *arguments],
            user=USER, group=USER, extra_groups=[], cwd="/", capture_output=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')[-1000:]}\n{self.log()}"
        return done.stdout.decode(errors="replace")

    def bench(self, *arguments: str) -> str:
        return self.run("pgbench", "-h", str(self.sockets), "-U", USER, *arguments, USER)

    def ask(self, query: str) -> str:
        return self.run("psql", "-h", str(self.sockets), "-U", USER, "-Atc", query, USER).strip()

    def dump(self) -> str:
        """What pg_dump says, without the key that it makes up each time."""
        told = self.run("pg_dump", "-h", str(self.sockets), "-U", USER, USER)
        return "\n".join(line for line in told.split("\n") if not line.startswith(("\\restrict", "\\unrestrict")))

    def check(self) -> None:
        """Every page's checksum, of a cluster that does not run."""
        assert self.server is None
        self.run("pg_checksums", "--check", "-D", str(self.data))

    def log(self) -> str:
        return (self.sockets / "log").read_text(errors="replace")[-2000:] if (self.sockets / "log").exists() else ""
