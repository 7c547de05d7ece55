"""What the agent can keep up with: many changes of small files, and appends to one file.

    python -m tests.bench.agent_bursts [--small]

The burst is made by a process of its own (tests/bench/churn.py), on the node's processor; the agent has the other one
to itself. Of changes that were seen one by one it is known when they were durable: the lag of the moment is the age of
the oldest that is not. Appends are of incompressible bytes, by a process that shares the agent's processor, at a share
of what the node itself takes from agents that have their batches ready (tests/bench/agents.py), measured just before.
For both the node has the other processor, and its journal in memory, as it has processors and a disk of its own
elsewhere: here it would share the file's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.bench import churn, part
from tests.bench.agents import Scenario, Simulated, agents_of, node_at, protect
from tests.bench.figures import Figure, middle, percentile
from tests.embedded import ROOT

RATE = 2000
CAUGHT_UP_SECONDS = 5.0
LAG_SECONDS = 1.0
APPEND_SHARE, APPEND_TARGET = 0.85, 0.8
PIECE_BYTES = 1 << 20


def figures(place: Path, *, small: bool = False) -> list[Figure]:
    seconds = 1.0 if small else 20.0
    found = burst(place / "burst", 500 if small else RATE, seconds)
    away = part.away(place)
    try:
        ingest = ingest_rate(away / "ingest", 0.5 if small else 4.0)
        return found + appends(place / "appends", away / "node", ingest, 0.5 if small else 8.0)
    finally:
        shutil.rmtree(away, ignore_errors=True)


def burst(place: Path, rate: int, seconds: float) -> list[Figure]:
    """A steady mix of changes: the agent's CPU time, the lag meanwhile, and how soon all was durable after it."""
    tree = place / "tree"
    churn.prepare(tree)
    mine, others = part.halves()
    with part.Pinned(place / "home", agent_on=mine, node_on=others).start() as site:
        stream = site.protect(part.ADDRESS, tree)
        site.wait_protected(part.ADDRESS)
        command = [sys.executable, "-m", "tests.bench.churn", str(tree), "--rate", str(rate), "--seconds", str(seconds)]
        began, cpu, node_cpu = time.time_ns(), site.agent_cpu(), site.node_cpu()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        part.pin(process.pid, others)
        told = json.loads(process.communicate()[0])
        last = told["written"][-1]
        site.wait(lambda: last in site.durable(stream, last), 120, "the last change to be durable")
        cpu, node_cpu = site.agent_cpu() - cpu, site.node_cpu() - node_cpu
        durable = site.durable(stream, began)
    lags = [(durable[at] - at) / 1e9 for at in told["written"] if at in durable]
    changes, took = told["changes"], told["seconds"]
    after = (durable[last] - last) / 1e9
    note = f"{changes} changes, {len(lags) / len(told['written']):.0%} of the writes captured one by one"
    return [
        Figure("bursts", "changes made a second", changes / took, "", at_least=0.95 * rate, note=note),
        Figure("bursts", "the agent's CPU time", cpu / (took + after), "of a core", at_most=1.0),
        Figure("bursts", "the agent's CPU time a change", cpu / changes * 1e6, "µs"),
        Figure("bursts", "the node's CPU time", node_cpu / (took + after), "of a core"),
        Figure("bursts", "lag: median", middle(lags) * 1000, "ms"),
        Figure("bursts", "lag: p99", percentile(lags, 0.99) * 1000, "ms"),
        Figure("bursts", "lag: most", max(lags) * 1000, "ms"),
        Figure("bursts", "all durable after the end", after, "s", at_most=LAG_SECONDS + CAUGHT_UP_SECONDS),
    ]


def ingest_rate(place: Path, seconds: float) -> float:
    """Bytes a second that the node acknowledges of agents that have their batches ready."""
    scenario = Scenario("ingest", random=2, data_frames=32)
    agents = agents_of(scenario)
    place.mkdir(parents=True)
    mine, others = part.halves()
    with node_at(place) as node, part.kept_on(mine):
        part.pin(node.pid, others)
        protect(node, agents)
        simulated = Simulated(node, agents, seconds, 1)
        try:
            simulated.begin()
            told = simulated.results()
        finally:
            simulated.end()
    return sum(result["bytes"] for each in told for result in each["busy"]) / seconds


def appends(place: Path, node_home: Path, ingest: float, seconds: float) -> list[Figure]:
    """One file that grows at APPEND_SHARE of what the node takes: does the agent follow?"""
    tree = place / "tree"
    tree.mkdir(parents=True)
    (tree / "log").write_bytes(b"")
    mine, others = part.halves()
    pinned = part.Pinned(place / "home", agent_on=mine, node_on=others, node_home=node_home)
    with pinned.start() as site, part.kept_on(mine):
        stream = site.protect(part.ADDRESS, tree)
        site.wait_protected(part.ADDRESS)
        began, cpu = time.time_ns(), site.agent_cpu()
        start = time.perf_counter()
        size = append(tree / "log", ingest * APPEND_SHARE, seconds)
        wrote = time.perf_counter() - start
        last = (tree / "log").stat().st_mtime_ns
        site.wait(lambda: last in site.durable(stream, began), 180, "the last append to be durable")
        cpu = site.agent_cpu() - cpu
        took = (site.durable(stream, began)[last] - began) / 1e9
    note = f"{size / wrote / 1e6:.0f} MB/s written for {wrote:.1f} s, the node takes {ingest / 1e6:.0f} MB/s"
    return [
        Figure(
            "appends", "durable, share of the node's rate", size / took / ingest, "", at_least=APPEND_TARGET, note=note
        ),
        Figure("appends", "all durable after the last", took - wrote, "s", at_most=LAG_SECONDS),
        Figure("appends", "the agent's CPU time", cpu / size * 1e9, "s a GB"),
    ]


def append(path: Path, rate: float, seconds: float) -> int:
    """Append random bytes at a steady rate; how many."""
    source = random.Random(2006)
    pieces = [source.randbytes(PIECE_BYTES) for _ in range(16)]
    size, start = 0, time.perf_counter()
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        while time.perf_counter() - start < seconds:
            time.sleep(max(0.0, start + size / rate - time.perf_counter()))
            number = size // PIECE_BYTES
            size += os.write(fd, b"%016d" % number + pieces[number % 16][16:])
    finally:
        os.close(fd)
    return size


if __name__ == "__main__":
    sys.exit(part.main("bursts", figures))
