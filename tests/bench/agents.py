"""Many agents on one node: what it acknowledges as durable, how soon, and what that costs it.

    make bench ARGS="agents [--rounds 3] [--seconds 10] [--scenarios mixed,data,events,idle] [--tls] [--place DIR]"

A real node is given policies for all hosts, then simulated agents (tests/bench/simulated.py), in processes of their
own, open their streams and write. What is acknowledged within the time counts; the disk's own rate is measured in the
same round by `dd oflag=dsync`, with blocks as large as the packs were that the node wrote, and of 1 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.model.ids import parse_address, stream_id
from tests.bench import disk
from tests.bench.load import Load
from tests.embedded import ROOT
from tests.nodes import ProcessNode, apply, process_node, source
from tests.secured import SecuredNode, secured_node

DATA_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Scenario:
    """How many agents of each kind (tests/bench/load.py). The small ones share `small_events_a_second`, in batches of
    `small_events` at even times; the others send batches of `data_frames` frames, one behind the other."""

    name: str
    small: int = 0
    random: int = 0
    text: int = 0
    idle: int = 0
    small_events_a_second: int = 0
    small_events: int = 100
    data_frames: int = DATA_FRAMES


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("mixed", small=40, random=5, text=5, small_events_a_second=20_000),
        Scenario("data", random=25, text=25, data_frames=4),
        Scenario("events", small=50, small_events_a_second=20_000),
        Scenario("idle", idle=500),
    )
}


@dataclass(frozen=True, slots=True)
class Agents:
    """The simulated agents of one run: loads of the busy ones, {host, stream} of the idle ones."""

    busy: Sequence[Load]
    idle: Sequence[Mapping[str, Any]]


def agents_of(scenario: Scenario) -> Agents:
    busy: list[Load] = []
    for kind, count in (("small", scenario.small), ("random", scenario.random), ("text", scenario.text)):
        for _ in range(count):
            host = f"busy{len(busy):03d}"
            every, size = 0.0, scenario.data_frames
            if kind == "small":
                every = scenario.small_events * scenario.small / scenario.small_events_a_second
                size = scenario.small_events
            busy.append(Load(host, f"bench/{host}/files", kind, size, every))
    hosts = [f"idle{number:03d}" for number in range(scenario.idle)]
    calm = [{"host": host, "stream": stream_id(parse_address(f"bench/{host}/files"))} for host in hosts]
    return Agents(busy, calm)


@contextmanager
def node_at(home: Path, *, tls: bool = False) -> Iterator[ProcessNode]:
    """A real node behind its socket; with `tls` agents come over TLS."""
    if tls:
        with secured_node(home) as secured:
            yield secured
        return
    with process_node(home) as node:
        yield node


def protect(node: ProcessNode, agents: Agents) -> None:
    """Apply policies in which every simulated agent has its source."""
    addresses = [load.address for load in agents.busy] + [f"bench/{each['host']}/files" for each in agents.idle]
    apply(node, *(source(address) for address in addresses))


def _where(node: ProcessNode, agents: Agents) -> dict[str, Any]:
    """How the agents find the node; over TLS each is given a certificate."""
    if not isinstance(node, SecuredNode):
        return {"socket": str(node.site.socket)}
    hosts = [load.host for load in agents.busy] + [each["host"] for each in agents.idle]
    known = {host: node.certify(host) for host in hosts}
    files = {host: [str(each.key), str(each.certificate)] for host, each in known.items()}
    return {"url": node.url, "ca_pem": node.ca_pem, "hosts": files}


class Simulated:
    """The processes of simulated agents. `begin` once all are ready; `results` waits for their end."""

    def __init__(self, node: ProcessNode, agents: Agents, seconds: float, processes: int, **more: Any) -> None:
        where = _where(node, agents)
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.bench.simulated"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for _ in range(processes)
        ]
        for number, process in enumerate(self._processes):
            plan = {
                **where,
                "seconds": seconds,
                "busy": [asdict(load) for load in agents.busy[number::processes]],
                "idle": list(agents.idle[number::processes]),
                **more,
            }
            self._write(process, json.dumps(plan))
        for process in self._processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a process of simulated agents ended before it was ready")

    def begin(self) -> None:
        for process in self._processes:
            self._write(process, "go")

    def results(self) -> list[dict[str, Any]]:
        """What each process says; all have ended then."""
        told = [process.communicate()[0] for process in self._processes]
        return [json.loads(text) for text in told]

    def end(self) -> None:
        """Whatever happened, none of them stays."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    @staticmethod
    def _write(process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()


def run_scenario(
    scenario: Scenario, place: Path, seconds: float, processes: int, *, tls: bool = False
) -> dict[str, float]:
    """One round: a new node, all agents, the disk's own rate; the figures."""
    home = place / "home"
    shutil.rmtree(home, ignore_errors=True)
    agents = agents_of(scenario)
    home.mkdir()
    with node_at(home, tls=tls) as node:
        protect(node, agents)
        simulated = Simulated(node, agents, seconds, processes)
        try:
            before, begun = disk.cpu_seconds(node.pid), time.monotonic()
            simulated.begin()
            told = simulated.results()
            cpu, wall = disk.cpu_seconds(node.pid) - before, time.monotonic() - begun
            memory = disk.memory_bytes(node.pid, "VmHWM")
        finally:
            simulated.end()
    packs = [path.stat().st_size for path in (home / "journal" / "packs").rglob("*") if path.is_file()]
    commits = sum(1 for path in (home / "journal" / "L0").rglob("*.parquet"))
    shutil.rmtree(home)
    return figures(told, packs, commits, cpu, wall, seconds, memory) | disk_rates(place, packs)


def disk_rates(place: Path, packs: Sequence[int]) -> dict[str, float]:
    """The disk's synced write rate, bytes a second, with blocks like the packs and of 1 MiB, in turn."""
    if not packs:
        return {}
    block = max(4096, int(statistics.mean(packs)) // 4096 * 4096)
    rates = [(disk.synced_rate(place, block), disk.synced_rate(place, 1 << 20)) for _ in range(2)]
    return {
        "pack_bytes_mean": block,
        "dd_pack_rate": statistics.mean(like_packs for like_packs, _ in rates),
        "dd_1m_rate": statistics.mean(of_1m for _, of_1m in rates),
    }


def figures(
    told: Sequence[Mapping[str, Any]],
    packs: Sequence[int],
    commits: int,
    cpu: float,
    wall: float,
    seconds: float,
    memory: int,
) -> dict[str, float]:
    """Everything measured, as numbers by name. Rates are a second."""
    busy = [result for each in told for result in each["busy"]]
    errors = [error for result in busy for error in result["errors"]]
    errors += [error for each in told for error in each["idle"].get("errors", ())]
    if errors:
        raise RuntimeError(f"{len(errors)} agents were refused: {errors[0]}")
    found: dict[str, float] = {"node_memory": memory, "cpu_share": cpu / wall, "commits_rate": commits / wall}
    if busy:
        size = sum(result["bytes"] for result in busy)
        acks = [ack for result in busy for ack in result["ack_seconds"]]
        found |= {
            "bytes_rate": size / seconds,
            "events_rate": sum(result["events"] for result in busy) / seconds,
            "batches_rate": len(acks) / wall,
            "late": sum(result["late"] for result in busy),
            "cpu_seconds_a_gb": cpu / (size / 1e9),
            **percentiles("ack", acks),
        }
        for kind in ("small", "random", "text"):
            found |= percentiles(f"ack_{kind}", [a for r in busy if r["kind"] == kind for a in r["ack_seconds"]])
    reports = [one for each in told for one in each["idle"].get("report_seconds", ())]
    if reports:
        found |= {"reports_rate": len(reports) / wall, **percentiles("report", reports)}
    return found


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {f"{name}_median_ms": cuts[49] * 1e3, f"{name}_p99_ms": cuts[98] * 1e3}


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds if name in each) for name in rounds[0]}


def render(name: str, found: Mapping[str, float]) -> str:
    lines = [f"{name}"]
    for key, value in found.items():
        shown = (
            f"{value / 1e6:10.1f} MB/s" if key.endswith(("bytes_rate", "_1m_rate", "_pack_rate")) else f"{value:10,.2f}"
        )
        lines.append(f"  {key:20} {shown}")
    if "dd_pack_rate" in found and "bytes_rate" in found:
        lines.append(f"  of the disk's rate   {found['bytes_rate'] / found['dd_pack_rate']:10.0%} (target: 55 %)")
        lines.append(f"  of that with bs=1M   {found['bytes_rate'] / found['dd_1m_rate']:10.0%}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.agents", description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--scenarios", default=",".join(SCENARIOS))
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--place", type=Path, default=Path(".bench").resolve() / "agents")
    options.add_argument("--tls", action="store_true", help="TLS with a certificate each, not the node's socket")
    options.add_argument("--json", type=Path)
    given = options.parse_args(arguments)
    given.place.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    for name in given.scenarios.split(","):
        rounds = [
            run_scenario(SCENARIOS[name], given.place, given.seconds, given.processes, tls=given.tls)
            for _ in range(given.rounds)
        ]
        results[name] = {"median": medians(rounds), "rounds": rounds}
        print(render(name, results[name]["median"]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
