"""Recovery on demand of PostgreSQL clusters: how soon they answer, how fast cold bytes come, what is left at the end.

    python -m tests.bench on-demand [--sizes 1,4,16] [--rounds 3] [--mechanism pre-access] [--reads GB] [--place DIR]
                                    [--json FILE]

Sizes are gigabytes of the data directory. Each cluster is made by pgbench, protected, and has a fifth of its pages
rewritten since, so that all have as many extents for each gigabyte. It is stopped cleanly; an embedded site on this
machine has it all. The first answer is that of one row by its key, through a server that is started as soon as the
command has returned. Cold reads begin as soon as the command has returned, too: of the largest size, or of the one that
`--reads` names. A plain copy stands beside the tree once that is whole, and both are read in turns.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from engine.fill.base import FUSE, PRE_ACCESS
from tests.bench import figures
from tests.bench.figures import Figure, middle, percentile
from tests.embedded import Site
from tests.ondemand.cluster import Cluster

PLACE = Path(".bench").resolve() / "on-demand"
ADDRESS = "bench/localhost/files"
SCALE_OF_A_GB = 66
READS, ROUNDS = 1500, 12
PAGE = 4096
SEQUENTIAL_BYTES = 256 << 20
REWRITE = "update pgbench_accounts set abalance = abalance + 1 where aid % 305 = 7"
"""One row in five pages of 61."""

SECONDS_MAX, RATIO_MAX = 3.0, 1.5
MEDIAN_MS_MAX, P99_MS_MAX = 2.0, 8.0
MB_A_SECOND_MIN, SLOWER_MAX = 250.0, 1.1


@dataclass
class Made:
    """A cluster of so many GB, protected and stopped."""

    gigabytes: float
    place: Path
    site: Site

    @property
    def source(self) -> Path:
        return self.place / "source"

    def restore(self, target: Path, mechanism: str, *more: str) -> str:
        """The id of a recovery on demand that has begun."""
        told = self.site.json("restore", ADDRESS, "--to", str(target), "--on-demand", "--mechanism", mechanism, *more)
        return str(told["id"])


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench on-demand", description=__doc__)
    options.add_argument("--sizes", default="1,4,16")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--mechanism", default=PRE_ACCESS, choices=[PRE_ACCESS, FUSE])
    options.add_argument("--reads", type=float)
    options.add_argument("--place", type=Path, default=PLACE)
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    sizes = [float(size) for size in given.sizes.split(",")]
    found = measure(given.place, sizes, given.mechanism, given.rounds, given.reads or max(sizes))
    sys.stdout.write(figures.table(found))
    if given.json:
        figures.write(found, given.json)
    return 0


def measure(place: Path, sizes: Sequence[float], mechanism: str, rounds: int, reads: float) -> list[Figure]:
    """All figures; the reads are of the cluster of `reads` gigabytes."""
    found: list[Figure] = []
    answers = []
    for gigabytes in sorted(sizes):
        with a_cluster(place / f"{gigabytes:g}", gigabytes) as made:
            seconds = [first_answer(made, mechanism, number) for number in range(rounds)]
            answers.append(middle(seconds))
            what = f"first answer, {gigabytes:g} GB"
            found.append(Figure(mechanism, what, answers[-1], "s", at_most=SECONDS_MAX, note=spread(seconds)))
            if gigabytes == reads:
                found += reading(made, mechanism)
    ratio = max(answers) / min(answers)
    found.append(Figure(mechanism, "first answer, slowest size against fastest", ratio, "", at_most=RATIO_MAX))
    return found


def first_answer(made: Made, mechanism: str, number: int) -> float:
    """Seconds from the command to the row."""
    target = made.place / f"back{number}"
    cluster = Cluster(target)
    began = time.monotonic()
    id = made.restore(target, mechanism, "--rate", "1KiB")
    try:
        cluster.start()
        cluster.ask("select abalance from pgbench_accounts where aid = 31")
        return time.monotonic() - began
    finally:
        cluster.close()
        made.site.run("recover", "cancel", id, "--yes")


def reading(made: Made, mechanism: str) -> list[Figure]:
    """Cold reads of a tree, and warm ones once it is whole, beside those of a plain copy."""
    target, plain = made.place / "back", made.place / "plain"
    id = made.restore(target, mechanism, "--rate", "1KiB")
    milliseconds = cold_reads(target, made.source)
    rate = cold_sequential(target)
    began = time.monotonic()
    made.site.run("recover", "finish", id)
    filled = time.monotonic() - began
    subprocess.run(["cp", "-a", "--reflink=never", made.source, plain], check=True)
    subprocess.run(["sync"], check=True)
    files = largest(target, 8)
    ratios = {"random": [], "sequential": []}  # type: dict[str, list[float]]
    for what, how in (("random", random_seconds), ("sequential", sequential_seconds)):
        for number in range(1 + ROUNDS):
            found = {tree: how(tree, files) for tree in ((target, plain) if number % 2 else (plain, target))}
            if number:  # at first one of them may still come from the disk
                ratios[what].append(found[target] / found[plain])
    left = [each for each in made.site.json("recover", "list")["recoveries"] if each["id"] == id]
    shutil.rmtree(plain)
    shutil.rmtree(target)
    gb = made.gigabytes
    return [
        Figure(mechanism, f"cold 4 KiB read, median, {gb:g} GB", middle(milliseconds), "ms", at_most=MEDIAN_MS_MAX),
        Figure(mechanism, "cold 4 KiB read, p99", percentile(milliseconds, 0.99), "ms", at_most=P99_MS_MAX),
        Figure(mechanism, "cold sequential read", rate / 1e6, "MB/s", at_least=MB_A_SECOND_MIN),
        Figure(mechanism, "the rest at full speed", gb * 1e3 / filled, "MB/s"),
        Figure(mechanism, "random reads when filled, plain = 1", middle(ratios["random"]), "", at_most=SLOWER_MAX),
        Figure(mechanism, "sequential when filled, plain = 1", middle(ratios["sequential"]), "", at_most=SLOWER_MAX),
        Figure(mechanism, "recoveries left afterwards", len(left), "", at_most=0),
    ]


def cold_reads(target: Path, source: Path) -> list[float]:
    """Milliseconds of each read; no two in the same megabyte, and each is compared."""
    chosen = random.Random(7)
    places = [(path, at) for path in largest(target, 40) for at in range(0, (target / path).stat().st_size, 1 << 20)]
    found = []
    for path, at in chosen.sample(places, min(READS, len(places) // 2)):
        at += chosen.randrange(0, 200) * PAGE
        fd = os.open(target / path, os.O_RDONLY)
        began = time.perf_counter()
        data = os.pread(fd, PAGE, at)
        found.append((time.perf_counter() - began) * 1e3)
        os.close(fd)
        with (source / path).open("rb") as file:
            assert os.pread(file.fileno(), PAGE, at) == data, (path, at)
    return found


def cold_sequential(target: Path) -> float:
    """Bytes a second of one reader through the file that is coldest: a server has not opened it, reads were few."""
    path = target / largest(target, 2)[-1]
    began, count = time.perf_counter(), 0
    with path.open("rb", buffering=0) as file:
        while count < SEQUENTIAL_BYTES and (data := file.read(1 << 20)):
            count += len(data)
    return count / (time.perf_counter() - began)


def random_seconds(tree: Path, files: Sequence[Path]) -> float:
    chosen = random.Random(3)
    began = time.perf_counter()
    for path in files:
        fd = os.open(tree / path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        for _ in range(4000):
            os.pread(fd, PAGE, chosen.randrange(size))
        os.close(fd)
    return time.perf_counter() - began


def sequential_seconds(tree: Path, files: Sequence[Path]) -> float:
    began = time.perf_counter()
    for path in files[:2]:
        with (tree / path).open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    return time.perf_counter() - began


def largest(tree: Path, count: int) -> list[Path]:
    """Paths below the tree, the largest file first."""
    files = [path for path in tree.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (-path.stat().st_size, str(path)))
    return [path.relative_to(tree) for path in files[:count]]


@contextmanager
def a_cluster(place: Path, gigabytes: float) -> Iterator[Made]:
    """Made, protected, a fifth rewritten, stopped; all of it goes afterwards."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for each in (place, *place.parents):
        if each.stat().st_mode & 0o001 == 0 and each.owner() == "root":
            each.chmod(each.stat().st_mode | 0o001)  # the server must be able to pass
    cluster = Cluster(place / "source", ("autovacuum=off", "shared_buffers=128MB", "max_wal_size=256MB"))
    site = Site(place / "home")
    try:
        cluster.make(max(1, round(gigabytes * SCALE_OF_A_GB)))
        cluster.ask("checkpoint")
        site.start()
        site.protect(ADDRESS, cluster.data)
        site.wait_protected(ADDRESS, 600 + 120 * gigabytes)
        cluster.ask(REWRITE)
        cluster.stop()
        site.wait(lambda: not site.source(ADDRESS).get("pending"), 600, "all of it to be captured")
        yield Made(gigabytes, place, site)
    finally:
        cluster.close()
        with suppress(AssertionError):
            for each in site.json("recover", "list")["recoveries"]:
                site.run("recover", "cancel", each["id"], "--yes")
        site.stop()
        shutil.rmtree(place, ignore_errors=True)


def spread(values: Sequence[float]) -> str:
    return "of " + ", ".join(f"{each:.2f}" for each in sorted(values))


if __name__ == "__main__":
    sys.exit(main())
