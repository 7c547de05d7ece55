"""`make bench`: protect and restore the same data with restic, borg and this project, in turn.

    python -m tests.bench [--rounds 3] [--data sources,random,database,words] [--place DIR] [--output FILE]
    python -m tests.bench agents ...        many agents on one node instead, see tests/bench/agents.py
    python -m tests.bench agent ...         what an agent costs and bears, see tests/bench/agent.py
    python -m tests.bench mount ...         a mount beside those of restic and borg, see tests/bench/mount.py
    python -m tests.bench on-demand ...     clusters that answer before they are there, see tests/bench/on_demand.py

Each round runs all three one after another, so that a machine whose speed drifts is fair to
all; medians are printed with the ratios that the project promises. What was restored stays until
all have restored the data set: ext4 passes over the numbers of files removed in the last minutes
one by one, so that who makes files after a removal pays for it, several times what making them costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.model.times import format_size
from engine.tree.settle import drop_pages
from tests.bench import data
from tests.bench.ours import Ours
from tests.bench.peers import Borg, Measured, Restic

PROMISED = {
    "sources": {"backup": (2.0, 4.0), "restore": (2.0, 4.0)},
    "database": {"backup": (2.0, 4.0), "restore": (2.0, 4.0)},
    "words": {"backup": (2.0, 4.0), "restore": (2.0, 4.0)},
    "random": {"backup": (1.0, 1.5), "restore": (1.3, 3.0)},
}
"""How many times as fast as restic and as borg, at least."""


def main() -> int:
    if sys.argv[1:2] == ["agents"]:
        # Not above: a process that is begun counts its beginner's memory as its own (getrusage(2), ru_maxrss).
        from tests.bench import agents

        return agents.main(sys.argv[2:])
    if sys.argv[1:2] == ["agent"]:
        from tests.bench import agent

        return agent.main(sys.argv[2:])
    if sys.argv[1:2] == ["mount"]:
        from tests.bench import mount

        return mount.main(sys.argv[2:])
    if sys.argv[1:2] == ["on-demand"]:
        from tests.bench import on_demand

        return on_demand.main(sys.argv[2:])
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--data", default=",".join(data.NAMES))
    options.add_argument("--place", type=Path, default=Path(".bench").resolve())
    options.add_argument("--output", type=Path)
    given = options.parse_args()
    missing = [name for name in ("restic", "borg") if shutil.which(name) is None]
    if missing:
        print(f"{' and '.join(missing)} not found: install restic and borgbackup", file=sys.stderr)
        return 1
    given.place.mkdir(parents=True, exist_ok=True)
    tools = [Ours(given.place), Restic(given.place), Borg(given.place)]
    results: dict[str, Any] = {}
    try:
        for name in given.data.split(","):
            results[name] = compare(name, data.make(name, given.place / "data"), tools, given.place, given.rounds)
    finally:
        tools[0].close()
    report = render(results, [tool.version() for tool in tools], given.rounds)
    print(report)
    if given.output:
        given.output.write_text(report)
    (given.place / "results.json").write_text(json.dumps(results, indent=2))
    return 0


def compare(name: str, tree: Path, tools: list[Any], place: Path, rounds: int) -> dict[str, Any]:
    """Medians of every figure of every tool over one data set."""
    files, size = data.measure(tree)
    runs: dict[str, dict[str, list[Measured]]] = {tool.name: {"backup": [], "restore": []} for tool in tools}
    agent_memory = 0
    restored = place / "restored"
    shutil.rmtree(restored, ignore_errors=True)
    restored.mkdir()
    for number in range(rounds):
        for tool in tools:
            runs[tool.name]["backup"].append(tool.backup(tree))
            target = restored / f"{number}-{tool.name}"
            os.sync()  # what others have not written yet is not this one's to wait for
            runs[tool.name]["restore"].append(tool.restore(target))
            check_same(tree, target, tool.name)
            forget(target)
            agent_memory = max(agent_memory, getattr(tool, "agent_memory_bytes", 0))
            print(
                f"  {name} round {number + 1}: {tool.name} {runs[tool.name]['backup'][-1].wall_seconds:.2f} s"
                f" / {runs[tool.name]['restore'][-1].wall_seconds:.2f} s",
                file=sys.stderr,
            )
    shutil.rmtree(restored)
    medians = {tool: {act: median(measured) for act, measured in acts.items()} for tool, acts in runs.items()}
    return {"files": files, "bytes": size, "agent_memory_bytes": agent_memory, "tools": medians}


def check_same(tree: Path, restored: Path, name: str) -> None:
    """What was restored equals what was protected; a fast wrong answer is no answer."""
    answer = subprocess.run(["diff", "-r", "--no-dereference", str(tree), str(restored)], capture_output=True)
    if answer.returncode:
        raise RuntimeError(f"{name} restored something else: {answer.stdout[:500]!r}")


def forget(tree: Path) -> None:
    """Give back the memory that a restored tree's pages take. A virtual machine that takes memory which it never had
    before waits for its host: the next tool would pay for that, and the fastest the largest part of its time."""
    for folder, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                fd = os.open(path, os.O_RDONLY)
                try:
                    drop_pages(fd)
                finally:
                    os.close(fd)


def median(measured: list[Measured]) -> dict[str, float]:
    fields = ("wall_seconds", "cpu_seconds", "memory_bytes", "stored_bytes")
    return {field: statistics.median(getattr(one, field) for one in measured) for field in fields}


def render(results: dict[str, Any], versions: list[str], rounds: int) -> str:
    lines = [
        f"Medians of {rounds} alternating rounds; {'; '.join(versions)}; Python {platform.python_version()}.",
        "",
        "| data | act | tool | wall s | CPU s | peak memory | stored | times as fast as this |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, result in results.items():
        ours = result["tools"]["bcs"]
        for act in ("backup", "restore"):
            for tool, acts in result["tools"].items():
                figures = acts[act]
                ratio = figures["wall_seconds"] / ours[act]["wall_seconds"]
                goal = "" if tool == "bcs" else f" (target {PROMISED[name][act][0 if tool == 'restic' else 1]})"
                kept = format_size(int(figures["stored_bytes"])) if act == "backup" else ""
                lines.append(
                    f"| {name} | {act} | {tool} | {figures['wall_seconds']:.2f} | {figures['cpu_seconds']:.2f} |"
                    f" {format_size(int(figures['memory_bytes']))} | {kept} | {ratio:.2f}{goal} |"
                )
        size = ours["backup"]["stored_bytes"] / result["tools"]["restic"]["backup"]["stored_bytes"]
        lines.append(
            f"| {name} | {result['files']} files, {format_size(result['bytes'])} | stored, bcs : restic | | | agent "
            f"{format_size(result['agent_memory_bytes'])} | {size:.2f} (target: at most 1.15) | |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
