"""How long until a changed file is durable on the node, at 500 changes a second made one by one.

    python -m tests.bench.agent_latency [--small]

Each change writes one of 200 small files anew. One that is written again before it was looked at counts with its later
time only; how many were seen one by one is told.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.bench import part
from tests.bench.figures import Figure, middle, percentile

FILES = 200
MEDIAN_MS, P99_MS = 60.0, 300.0
SETTLE_SECONDS = 10.0


def figures(place: Path, *, small: bool = False) -> list[Figure]:
    rate, seconds = (100, 1.0) if small else (500, 20.0)
    tree = place / "tree"
    tree.mkdir()
    for number in range(FILES):
        (tree / f"{number:03d}").write_bytes(b"before" * 100)
    with part.Pinned(place / "home").start() as site:
        stream = site.protect(part.ADDRESS, tree)
        site.wait_protected(part.ADDRESS)
        cpu, began = site.agent_cpu(), time.time_ns()
        written = write(tree, rate, seconds)
        cpu = site.agent_cpu() - cpu
        last = max(written)
        site.wait(lambda: last in site.durable(stream, began), SETTLE_SECONDS, "the last change to be durable")
        durable = site.durable(stream, began)
    delays = [(durable[at] - at) / 1e6 for at in written if at in durable]
    share = len(delays) / len(written)
    note = f"{len(written)} changes, {share:.0%} of them captured one by one"
    return [
        Figure("latency", f"change to durable, {rate} a second: median", middle(delays), "ms", at_most=MEDIAN_MS),
        Figure("latency", "p99", percentile(delays, 0.99), "ms", at_most=P99_MS, note=note),
        Figure("latency", "most", max(delays, default=float("nan")), "ms"),
        Figure("latency", "the agent's CPU time", cpu / seconds * 100, "% of a core"),
    ]


def write(tree: Path, rate: int, seconds: float) -> set[int]:
    """Write files at even times; their mtimes."""
    written: set[int] = set()
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        path = tree / f"{number % FILES:03d}"
        path.write_bytes(b"after %d " % number * 50)
        written.add(path.stat().st_mtime_ns)
    return written


if __name__ == "__main__":
    sys.exit(part.main("latency", figures))
