"""`python -m tests.bench mount`: the history as a file system, beside restic mount and borg mount of the same data.

    python -m tests.bench mount [--files 300000] [--rounds 3] [--place DIR] [--json FILE] [--only bcs,restic,borg]

The data: small files of about a kilobyte in directories of a hundred, and one large file half of which can't be
compressed. Each figure begins with a fresh mount, so that nothing is in the kernel's caches of it; the peers take turns
in each round. *ready* is from the command to the first listing of the tree; all else begins there. *names* is `find`,
*attributes* `find -size`, which needs what stat(2) says, *small files* opens and reads 5,000 of them, one directory
after another (and picked at random), *sequential* is dd of the large file. A warm page cache holds all repositories.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench import figures
from tests.bench.figures import Figure, middle
from tests.bench.ours import ADDRESS
from tests.bench.peers import Borg, Restic
from tests.embedded import Site

PLACE = Path(".bench").resolve() / "mount"
LARGE_BYTES = 512 << 20
READ_FILES = 5_000
FILES_A_DIRECTORY = 100
TARGETS = {"names": 100_000.0, "attributes": 20_000.0, "small files": 5_000.0, "sequential": 400.0}
UNITS = {
    "ready": "s",
    "names": "entries/s",
    "attributes": "entries/s",
    "small files": "files/s",
    "small files at random": "files/s",
    "sequential": "MB/s",
}

Way = Callable[[Path], tuple[subprocess.Popen[bytes], Path]]
"""Begins to mount on an empty directory; the process, and where the tree then is."""


def main(arguments: Sequence[str] = ()) -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench mount", description=__doc__)
    options.add_argument("--files", type=int, default=300_000)
    options.add_argument("--large-bytes", type=int, default=LARGE_BYTES)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", default="bcs,restic,borg")
    options.add_argument("--place", type=Path, default=PLACE)
    options.add_argument("--keep", action="store_true", help="leave data and repositories for the next run")
    options.add_argument("--json", type=Path)
    given = options.parse_args(list(arguments) or None)
    only = [name for name in given.only.split(",") if name == "bcs" or shutil.which(name)]
    try:
        found = measure(given.place, given.files, given.large_bytes, given.rounds, only)
    finally:
        if not given.keep:
            shutil.rmtree(given.place, ignore_errors=True)
    sys.stdout.write(figures.table(found))
    if given.json:
        figures.write(found, given.json)
    return 0


def measure(place: Path, files: int, large_bytes: int, rounds: int, only: Sequence[str]) -> list[Figure]:
    """Medians of every figure for every tool."""
    tree = _data(place, files, large_bytes)
    with _kept(place, tree, only) as ways:
        runs: dict[str, dict[str, list[float]]] = {name: {what: [] for what in UNITS} for name in ways}
        for _ in range(rounds):
            for what, act in _ACTS.items():
                for name, mounted in ways.items():
                    with _mounted(mounted, place / f"on-{name}") as (root, ready):
                        runs[name]["ready"].append(ready)
                        runs[name][what].append(act(root, tree))
    return [
        Figure(
            name,
            what,
            middle(runs[name][what]),
            UNITS[what],
            at_least=TARGETS.get(what) if name == "bcs" else None,
        )
        for what in UNITS
        for name in runs
    ]


def _names(root: Path, tree: Path) -> float:
    return _found(["find", str(root)])


def _attributes(root: Path, tree: Path) -> float:
    return _found(["find", str(root), "-size", "-100000000"])


def _found(command: Sequence[str]) -> float:
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seconds = time.monotonic() - began
    return done.stdout.count(b"\n") / seconds


def _small_files(root: Path, tree: Path) -> float:
    directories = random.Random(2006).sample(
        sorted(path.name for path in tree.glob("d*")), READ_FILES // FILES_A_DIRECTORY
    )
    return _read(root, [f"{directory}/{name}" for directory in directories for name in os.listdir(tree / directory)])


def _at_random(root: Path, tree: Path) -> float:
    names = sorted(path.name for path in tree.glob("d*"))
    chance = random.Random(2006)
    directories = [chance.choice(names) for _ in range(READ_FILES)]
    return _read(root, [f"{each}/{chance.choice(os.listdir(tree / each))}" for each in directories])


def _read(root: Path, wanted: Sequence[str]) -> float:
    began = time.monotonic()
    for name in wanted:
        fd = os.open(f"{root}/{name}", os.O_RDONLY)
        while os.read(fd, 1 << 16):
            pass
        os.close(fd)
    return len(wanted) / (time.monotonic() - began)


def _sequential(root: Path, tree: Path) -> float:
    began = time.monotonic()
    subprocess.run(["dd", f"if={root}/large", "of=/dev/null", "bs=1M", "status=none"], check=True)
    return (tree / "large").stat().st_size / 1e6 / (time.monotonic() - began)


_ACTS: Mapping[str, Callable[[Path, Path], float]] = {
    "names": _names,
    "attributes": _attributes,
    "small files": _small_files,
    "small files at random": _at_random,
    "sequential": _sequential,
}


@contextmanager
def _mounted(way: Way, place: Path) -> Iterator[tuple[Path, float]]:
    """A fresh mount, from the tool's start to the end of its process; the tree, and when it first showed."""
    place.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    process, root = way(place)
    try:
        end = time.monotonic() + 600
        while not (os.path.ismount(place) and os.path.isdir(root)):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"nothing is mounted on {place}")
            time.sleep(0.02)
        there = root.resolve()
        os.listdir(there)
        yield there, time.monotonic() - began
    finally:
        subprocess.run(["umount", str(place)], check=False)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(60)


@contextmanager
def _kept(place: Path, tree: Path, only: Sequence[str]) -> Iterator[dict[str, Way]]:
    """The data protected by every tool; how each mounts it."""
    ways: dict[str, Way] = {}
    restic, borg = Restic(place), Borg(place)
    if "restic" in only:
        if not restic.repository.exists():
            restic.backup(tree)
        command = ["restic", "-q", "-r", str(restic.repository), "mount"]
        ways["restic"] = lambda at: (
            _begun([*command, str(at)], restic.environment), at / "snapshots" / "latest"
        )  # fmt: skip
    if "borg" in only:
        if not borg.repository.exists():
            borg.backup(tree)
        ways["borg"] = lambda at: (
            _begun(["borg", "mount", "-f", f"{borg.repository}::a", str(at)], borg.environment), at
        )  # fmt: skip
    home = place / "home"
    with Site(home) as site:
        if "bcs" in only:
            protected = home.joinpath("journal").exists()
            site.start()
            if not protected:
                site.protect(ADDRESS, tree)
            site.wait_protected(ADDRESS, 900)
            ours = [sys.executable, "-m", "bcsctl", "mount"]
            ways["bcs"] = lambda at: (_begun([*ours, str(at), ADDRESS], site.environment), at / "latest")
        yield ways


def _begun(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip


def _data(place: Path, files: int, large_bytes: int) -> Path:
    """The tree; what is there already is used."""
    tree = place / "data"
    if (place / "data.done").exists():
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    chance = random.Random(2006)
    for number in range(0, files, FILES_A_DIRECTORY):
        directory = tree / f"d{number // FILES_A_DIRECTORY:05d}"
        directory.mkdir(parents=True)
        for each in range(number, min(number + FILES_A_DIRECTORY, files)):
            words = b" ".join(b"%d" % chance.randrange(10_000) for _ in range(chance.randrange(20, 400)))
            (directory / f"file {each:07d}.txt").write_bytes(words)
    with open(tree / "large", "wb") as file:
        for _ in range(large_bytes >> 20):
            file.write(chance.randbytes(512 << 10) + bytes(chance.randrange(256) for _ in range(64)) * 8192)
    (place / "data.done").touch()
    return tree


if __name__ == "__main__":
    sys.exit(main())
