"""How long until a changed file is durable on a node that is far away, at a steady rate of changes on several hosts.

    python -m tests.bench.wide [--delay-ms 40] [--hosts 2] [--rate 100] [--seconds 20]

Real agents and a real node over TLS, with a line between them that delays every byte (tests/bench/delay.py). Measured
as tests/bench/latency.py does: from a file's mtime to the moment at which the segment with its event got its name.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from engine.model.ids import parse_address, stream_id
from tests.bench.delay import delayed
from tests.embedded import ROOT
from tests.nodes import apply, source, wait_for
from tests.secured import SecuredNode, secured_node

FILES = 200
SETTLE_SECONDS = 2.0


def address_of(host: str) -> str:
    return f"wide/{host}/files"


@contextmanager
def agent(home: Path, host: str, node: SecuredNode, port: int) -> Iterator[None]:
    """A real agent of a host, which reaches its node at `port` of this machine."""
    identity = home / "identity"
    identity.mkdir(parents=True)
    (identity / "site-ca.pem").write_text(node.ca_pem)
    (identity / "enrolment").write_text(node.admin("POST", "/v1/enrolments", {"host": host}).json["token"] + "\n")
    command = [sys.executable, "-m", "engine.agent", "agent", "--home", str(home), "--host", host]
    command += ["--node", f"https://127.0.0.1:{port}"]
    with (home / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def change(tree: Path, rate: int, seconds: float, written: set[int]) -> None:
    """Write files one by one, at even times; their mtimes."""
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        path = tree / f"{number % FILES:03d}"
        path.write_bytes(b"after %d " % number * 50)
        written.add(path.stat().st_mtime_ns)


def measure(place: Path, hosts: int, rate: int, seconds: float, delay_seconds: float) -> dict[str, float]:
    """{median_ms, p99_ms, max_ms, changes, captured_one_by_one} over all hosts."""
    shutil.rmtree(place, ignore_errors=True)
    names = [f"host{number}" for number in range(hosts)]
    trees = {name: place / "trees" / name for name in names}
    for tree in trees.values():
        tree.mkdir(parents=True)
        for number in range(FILES):
            (tree / f"{number:03d}").write_bytes(b"before" * 100)
    written: dict[str, set[int]] = {name: set() for name in names}
    with ExitStack() as stack:
        node = stack.enter_context(secured_node(place / "site"))
        port = stack.enter_context(delayed(node.port, delay_seconds))
        apply(node, *(source(address_of(name), str(trees[name])) for name in names))
        for name in names:
            stack.enter_context(agent(place / name, name, node, port))
        wait_for(lambda: _all_protected(node, hosts), 60, "the hosts to be protected")
        threads = [threading.Thread(target=change, args=(trees[name], rate, seconds, written[name])) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(SETTLE_SECONDS)
    delays: list[float] = []
    for name in names:
        delays += _delays(place / "site" / "journal", stream_id(parse_address(address_of(name))), written[name])
    cuts = statistics.quantiles(delays, n=100)
    changes = sum(map(len, written.values()))
    return {
        "median_ms": statistics.median(delays),
        "p99_ms": cuts[98],
        "max_ms": max(delays),
        "changes": changes,
        "captured_one_by_one": len(delays),
    }


def _all_protected(node: SecuredNode, hosts: int) -> bool:
    groups = node.admin("GET", "/v1/status").json["groups"]
    rows = [row for group in groups for row in group["sources"]]
    return len(rows) == hosts and all(row["protected"] == "protected" for row in rows)


def _delays(journal: Path, stream: str, written: set[int]) -> list[float]:
    """Milliseconds from each change to its segment's name. Segments are read before they are merged away."""
    durable = {str(path): path.stat().st_ctime_ns for path in (journal / "L0").rglob("*.parquet")}
    rows = duckdb.execute(
        "select mtime_ns, filename from read_parquet($1, filename = true) where kind = 2 and stream = $2",
        [sorted(durable), stream],
    ).fetchall()
    return [(durable[key] - mtime_ns) / 1e6 for mtime_ns, key in rows if mtime_ns in written]


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.wide", description=__doc__)
    options.add_argument("--delay-ms", type=float, default=40.0)
    options.add_argument("--hosts", type=int, default=2)
    options.add_argument("--rate", type=int, default=100)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--place", type=Path, default=Path(".bench").resolve() / "wide")
    given = options.parse_args(arguments)
    found = measure(given.place, given.hosts, given.rate, given.seconds, given.delay_ms / 1000)
    for name, value in found.items():
        print(f"{name:20} {value:,.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
