"""How long until a changed file is durable on the node, at a steady rate of changes.

    python -m tests.bench.latency [--rate 100] [--seconds 20]

A file's own mtime says when it was written; the time at which the segment with its event got its
name (its inode's ctime, behind the sync of its content) says when it was durable.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path

import duckdb

from tests.embedded import Site

ADDRESS = "latency/localhost/files"


def measure(place: Path, rate: int, seconds: int) -> dict[str, float]:
    """{median_ms, p99_ms, max_ms, changes, missing} of changes made one by one at `rate` a second."""
    shutil.rmtree(place, ignore_errors=True)
    tree = place / "tree"
    tree.mkdir(parents=True)
    for number in range(200):
        (tree / f"{number:03d}").write_bytes(b"before" * 100)
    written: set[int] = set()
    with Site(place / "home").start() as site:
        stream = site.protect(ADDRESS, tree)
        site.wait_protected(ADDRESS)
        start = time.perf_counter()
        for number in range(rate * seconds):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            path = tree / f"{number % 200:03d}"
            path.write_bytes(b"after %d " % number * 50)
            written.add(path.stat().st_mtime_ns)
        time.sleep(2)
    durable = {str(path): path.stat().st_ctime_ns for path in (site.home / "journal" / "L0").rglob("*.parquet")}
    rows = duckdb.execute(
        "select mtime_ns, filename from read_parquet($1, filename = true) where kind = 2 and stream = $2",
        [sorted(durable), stream],
    ).fetchall()
    delays = [(durable[key] - mtime_ns) / 1e6 for mtime_ns, key in rows if mtime_ns in written]
    cuts = statistics.quantiles(delays, n=100)
    # A file that is written again before it was looked at is captured with its later time only.
    return {
        "median_ms": statistics.median(delays),
        "p99_ms": cuts[98],
        "max_ms": max(delays),
        "changes": len(written),
        "captured_one_by_one": len(delays),
    }


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=__doc__)
    options.add_argument("--rate", type=int, default=100)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--place", type=Path, default=Path(".bench").resolve() / "latency")
    given = options.parse_args()
    for name, value in measure(given.place, given.rate, given.seconds).items():
        print(f"{name:20} {value:,.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
