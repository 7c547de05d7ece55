"""What applications do in a directory: untar, git checkout, SQLite, PostgreSQL. Each is prepared once and run again and
again; one run does the same work each time, and leaves the directory as it found it or is cleared up.

Commands that this machine has not are left out: `available` says which there are.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.bench.peers import Measured, run_measured

QUIET = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


class Workload(Protocol):
    name: str

    def prepare(self) -> None:
        """Make what every run needs."""
        ...

    def run(self) -> Measured:
        """The work itself, on the processors of the caller."""
        ...

    def clear(self) -> None:
        """Take away what the run has made."""
        ...

    def close(self) -> None:
        """The end of all runs."""
        ...


@dataclass
class Untar:
    """`tar xf` of a tree of small files. What was unpacked is moved away, and removed at the end of all runs: ext4
    passes over the numbers of files removed in the last minutes, so whoever makes files after a removal pays for it."""

    tree: Path
    archive: Path
    files: Sequence[Path]
    name: str = "untar"
    runs: int = 0

    @property
    def _away(self) -> Path:
        return self.archive.with_name("unpacked")

    def prepare(self) -> None:
        self._away.mkdir()
        with tarfile.open(self.archive, "w") as tar:
            for number, path in enumerate(self.files):
                tar.add(path, f"{number % 200:03d}/{number:05d}_{path.name}")
        self.archive.read_bytes()

    def run(self) -> Measured:
        target = self.tree / "unpacked"
        target.mkdir()
        return run_measured(["tar", "xf", str(self.archive), "-C", str(target)], {}, self.tree)

    def clear(self) -> None:
        self.runs += 1
        (self.tree / "unpacked").rename(self._away / str(self.runs))

    def close(self) -> None:
        shutil.rmtree(self._away)


@dataclass
class Checkout:
    """`git checkout` of a branch in which half of the files differ, and back."""

    tree: Path
    files: Sequence[Path]
    name: str = "git checkout"

    @property
    def _repository(self) -> Path:
        return self.tree / "repository"

    def _git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
        run_measured(["git", *identity, *arguments], QUIET, self._repository)

    def prepare(self) -> None:
        self._repository.mkdir()
        self._git("init", "-q", "-b", "one", ".")
        for number, path in enumerate(self.files):
            target = self._path(number)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
        self._git("add", ".")
        self._git("commit", "-q", "-m", "one")
        self._git("checkout", "-q", "-b", "two")
        for number in range(0, len(self.files), 2):
            path = self._path(number)
            if number % 10:
                path.write_bytes(b"# another one\n" + path.read_bytes())
            else:
                path.unlink()
        self._git("add", "-A", ".")
        self._git("commit", "-q", "-m", "two")

    def _path(self, number: int) -> Path:
        return self._repository / f"{number % 100:02d}" / f"{number:05d}.py"

    def run(self) -> Measured:
        one = run_measured(["git", "checkout", "-q", "one"], QUIET, self._repository)
        two = run_measured(["git", "checkout", "-q", "two"], QUIET, self._repository)
        wall, cpu = one.wall_seconds + two.wall_seconds, one.cpu_seconds + two.cpu_seconds
        return Measured(wall, cpu, two.memory_bytes)

    def clear(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Sqlite:
    """`sqlite3`: durable transactions of a few rows each, in WAL mode, and a few large ones."""

    tree: Path
    script: Path
    transactions: int
    name: str = "sqlite3"

    def prepare(self) -> None:
        lines = [
            "pragma journal_mode = wal;",
            "pragma synchronous = full;",
            "drop table if exists t;",
            "create table t (a integer primary key, b int, c text);",
        ]
        for number in range(self.transactions):
            row = f"({number}, {number * 7919 % 10007}, '{'x' * 100}')"
            lines.append(f"insert into t values {row}; update t set b = b + 1 where a = {number * 31 % (number + 1)};")
        lines.append("begin; with recursive n(i) as (select 1000000 union all select i + 1 from n limit 20000)")
        lines.append("insert into t select i, i % 1009, printf('%0100d', i) from n; commit;")
        lines.append("update t set c = c || 'y' where b % 3 = 0; pragma wal_checkpoint(truncate);")
        self.script.write_text("\n".join(lines) + "\n")

    def run(self) -> Measured:
        return run_measured(["sh", "-c", f"sqlite3 -bail {self.tree}/db.sqlite < {self.script}"], {}, self.tree)

    def clear(self) -> None:
        for path in self.tree.glob("db.sqlite*"):
            path.unlink()

    def close(self) -> None:
        pass


@dataclass
class Pgbench:
    """`pgbench` on a server whose data directory lies in the tree. Its own CPU time is not the server's."""

    tree: Path
    transactions: int
    scale: int
    name: str = "pgbench"
    server: subprocess.Popen[bytes] | None = None

    @property
    def _data(self) -> Path:
        return self.tree / "postgres"

    @property
    def _sockets(self) -> str:
        return f"/tmp/bcs-bench-{os.getpid()}"

    def prepare(self) -> None:
        user = pwd.getpwnam("postgres")
        self._data.mkdir()
        Path(self._sockets).mkdir(exist_ok=True)
        for path in (str(self._data), self._sockets):
            os.chown(path, user.pw_uid, user.pw_gid)
        binary = POSTGRES[-1].parent
        self._as_postgres([str(binary / "initdb"), "-A", "trust", "-U", "postgres", "-D", str(self._data)])
        self.start()
        self._pgbench("-i", "-q", "-s", str(self.scale))

    def start(self) -> None:
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self._sockets}", "-c", "autovacuum=off"]
        command = [str(POSTGRES[-1]), "-D", str(self._data), *options]
        self.server = subprocess.Popen(
            command, user="postgres", group="postgres", extra_groups=[], cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        ready = [str(POSTGRES[-1].parent / "pg_isready"), "-q", "-h", self._sockets, "-t", "20"]
        while subprocess.run(ready).returncode:
            if self.server.poll() is not None:
                raise RuntimeError("the PostgreSQL server ended")

    def _as_postgres(self, command: Sequence[str]) -> None:
        done = subprocess.run(
            command, user="postgres", group="postgres", extra_groups=[], cwd="/", capture_output=True, timeout=120
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.decode(errors='replace')[-500:]}")

    def _pgbench(self, *arguments: str) -> Measured:
        return run_measured(["pgbench", "-h", self._sockets, "-U", "postgres", *arguments, "postgres"], {}, Path("/"))

    def run(self) -> Measured:
        each = max(1, self.transactions // 4)
        return self._pgbench("-n", "-c", "4", "-j", "1", "-t", str(each), "--random-seed=2006")

    def clear(self) -> None:
        pass

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()  # SIGTERM: a smart shutdown, which waits for clients that there are none of
            self.server.wait(30)
            self.server = None
        shutil.rmtree(self._sockets, ignore_errors=True)


def available(tree: Path, aside: Path, files: Sequence[Path], *, small: bool) -> list[Workload]:
    """Those whose commands this machine has. `aside` is for what is not to be protected."""
    found: list[Workload] = [Untar(tree, aside / "files.tar", files)]
    if shutil.which("git"):
        found.append(Checkout(tree, files[: len(files) // 2]))
    if shutil.which("sqlite3"):
        found.append(Sqlite(tree, aside / "script.sql", 50 if small else 1500))
    if shutil.which("pgbench") and POSTGRES and os.geteuid() == 0 and not small:
        found.append(Pgbench(tree, 4000, 10))
    return found
