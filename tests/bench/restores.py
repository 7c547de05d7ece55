"""`python -m tests.bench.restores`: the same tree restored by the command line here, and by another host's agent.

Node and agents are processes of this machine; what travels goes through a socket. Prints seconds, rates and their
ratios, and what `cp -a` of the same tree and a sync take in the same round: for incompressible large files a restore is
to take at most 1.7 times as long.
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
SHAPES = {
    "large": (8, 64 << 20, 0.5),
    "small": (20_000, 4 << 10, 0.5),
    "incompressible": (64, 4 << 20, 1.0),
    "incompressible large": (4, 512 << 20, 1.0),
}
"""(files, bytes each, the share of each that can't be compressed)."""

MANY = 1000


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
            found = [
                one_round(site, tree, place / str(number), stays=SHAPES[shape][0] >= MANY) for number in range(rounds)
            ]
        finally:
            for agent in agents:
                agent.terminate()
                agent.wait()
    near, far, disk = (statistics.median(each) for each in zip(*found, strict=True))
    print(
        f"{shape}: {size >> 20} MiB; here {near:.2f} s, to a host {far:.2f} s ({size / far / 1e6:.0f} MB/s), "
        f"{near / far:.2f} times as fast as here; cp -a and sync {disk:.2f} s, here {near / disk:.2f} times as long"
    )


def one_round(site: Site, tree: Path, place: Path, *, stays: bool) -> tuple[float, float, float]:
    """Seconds: restored here, restored by the other host's agent, the same files copied within memory and synced.

    `stays`: until all has been measured; see tests.bench.__main__ for what a removal costs who makes files after it.
    """
    place.mkdir()
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
        if not stays:
            shutil.rmtree(target)
    return seconds[0], seconds[1], seconds[2]


def fill(tree: Path, files: int, size: int, share: float = 0.5) -> int:
    for number in range(files):
        folder = tree / f"d{number // 200}"
        folder.mkdir(parents=True, exist_ok=True)
        chance = int(size * share)
        (folder / f"f{number}").write_bytes(os.urandom(chance) + bytes([number % 251]) * (size - chance))
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
