"""`python -m tests.bench.restores`: the same tree restored by the command line here, and by another host's agent.

Node and agents are processes of this machine; what travels goes through a socket. Prints seconds, rates and their
ratio, and what the disk takes when it is only written to and synced, in the same round.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine.tree.compare import compare
from tests.embedded import Site

ADDRESS = "bench/a/files"
SHAPES = {"large": (8, 64 << 20), "small": (20_000, 4 << 10)}
"""(files, bytes each); half of each can't be compressed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.restores", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"))
    given = parser.parse_args()
    for shape in given.shape or SHAPES:
        place = Path(tempfile.mkdtemp(prefix="bcs-restores-", dir=given.place))
        try:
            measure(shape, place, given.rounds)
        finally:
            shutil.rmtree(place)
    return 0


def measure(shape: str, place: Path, rounds: int) -> None:
    tree = place / "tree"
    size = fill(tree, *SHAPES[shape])
    with Site(place / "home") as site:
        site.start_node()
        agents = [start(site, place, host) for host in "ab"]
        try:
            site.protect(ADDRESS, tree)
            site.wait_protected(ADDRESS, 300)
            found = [one_round(site, tree, place) for _ in range(rounds)]
        finally:
            for agent in agents:
                agent.terminate()
                agent.wait()
    near, far, disk = (statistics.median(each) for each in zip(*found, strict=True))
    print(
        f"{shape}: {size >> 20} MiB; here {near:.2f} s, to a host {far:.2f} s ({size / far / 1e6:.0f} MB/s), "
        f"{near / far:.2f} times as fast as here; the disk alone {disk:.2f} s"
    )


def one_round(site: Site, tree: Path, place: Path) -> tuple[float, float, float]:
    """Seconds: restored here, restored by the other host's agent, the same files copied within memory and synced."""
    targets = [place / name for name in ("near", "far", "copy")]
    seconds = []
    for target, where in zip(targets, (str(targets[0]), f"b:{targets[1]}", ""), strict=True):
        os.sync()
        began = time.monotonic()
        if where:
            site.run("restore", ADDRESS, "--to", where)
        else:
            subprocess.run(["cp", "-a", "--reflink=never", str(tree), str(target)], check=True)
            subprocess.run(["sync", "-f", str(target)], check=True)
        seconds.append(time.monotonic() - began)
        assert list(compare(os.fsencode(tree), os.fsencode(target))) == []
        shutil.rmtree(target)
    return seconds[0], seconds[1], seconds[2]


def fill(tree: Path, files: int, size: int) -> int:
    for number in range(files):
        folder = tree / f"d{number // 200}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(os.urandom(size // 2) + bytes([number % 251]) * (size - size // 2))
    return files * size


def start(site: Site, place: Path, host: str) -> subprocess.Popen[bytes]:
    home = place / f"home-{host}"
    home.mkdir()
    command = [sys.executable, "-m", "engine.agent", "agent", "--home", str(home), "--host", host]
    with (place / f"{host}.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--socket", str(site.socket)], env={**site.environment, "BCS_HOME": str(home)}, cwd="/",
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
