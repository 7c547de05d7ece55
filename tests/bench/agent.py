"""The agent against its targets, part by part, each in a process of its own.

    make bench ARGS="agent [--parts latency,bursts,wire,slowdown,large] [--small] [--place DIR] [--output DIR]"

About 20 minutes at full size on two processors, and 6 GB of disk. A part that fails is told, and the others go on.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import part
from tests.bench.figures import Figure, read, table, write

PARTS = ("latency", "bursts", "wire", "slowdown", "large")
PART_SECONDS = 900


def main(arguments: Sequence[str]) -> int:
    """Run the parts, print the table; 1 when a part failed. A target that was missed is no failure."""
    options = argparse.ArgumentParser(prog="python -m tests.bench agent", description=__doc__)
    options.add_argument("--parts", default=",".join(PARTS))
    options.add_argument("--small", action="store_true")
    options.add_argument("--place", type=Path, default=part.PLACE)
    options.add_argument("--output", type=Path, help="a directory for agent.json and agent.md; by default the place")
    given = options.parse_args(arguments)
    given.place.mkdir(parents=True, exist_ok=True)
    found: list[Figure] = []
    failed = []
    for name in given.parts.split(","):
        if importlib.util.find_spec(f"tests.bench.agent_{name}") is None:
            failed.append(f"there is no part '{name}'")
            continue
        began = time.perf_counter()
        result = given.place / f"{name}.json"
        command = [sys.executable, "-m", f"tests.bench.agent_{name}", "--place", str(given.place)]
        command += ["--json", str(result), *(["--small"] if given.small else [])]
        try:
            subprocess.run(command, check=True, timeout=PART_SECONDS, stdout=subprocess.DEVNULL)
            found += read(result)
        except subprocess.SubprocessError as error:
            failed.append(f"part '{name}': {error}")
        print(f"  {name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    text = f"{_machine()}\n\n{table(found)}"
    text += "".join(f"\nNot measured: {why}\n" for why in failed)
    print(text)
    output = given.output or given.place
    output.mkdir(parents=True, exist_ok=True)
    (output / "agent.md").write_text(text)
    write(found, output / "agent.json")
    return 1 if failed else 0


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}; {os.cpu_count()} processors, {memory:.0f} GB; Linux {platform.release()}; "
        f"Python {platform.python_version()}; load before {os.getloadavg()[0]:.1f}"
    )
