"""`make soak`: random histories for hours, on every file system and mechanism, or one of them again.

make soak                                 for an hour, seeds and settings by chance
make soak ARGS="--hours 8"
make soak ARGS="--seed 5 --file-system xfs"   that seed, once; --times N more often
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import mounts
from tests.histories.one import one
from tests.histories.run import TROUBLES, Plan

HERE = "here"
FILE_SYSTEMS = (HERE, *mounts.KINDS)
WATCH = ("", "", "fanotify", "fanotify-directories", "inotify", "scan")
RANGES = ("", "", "none")
SIZE_BYTES = 1 << 30


@dataclass(slots=True)
class Soaked:
    """How it went."""

    seeds: int = 0
    points: int = 0
    moments: int = 0
    failed: list[str] = field(default_factory=list)
    lived_on: Counter[str] = field(default_factory=Counter)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    source = random.Random()
    soaked, end = Soaked(), time.monotonic() + given.hours * 3600
    times = given.times if given.seed is not None else sys.maxsize
    try:
        while times > 0 and (given.seed is not None or time.monotonic() < end):
            times -= 1
            _soak(given, source, soaked)
    except KeyboardInterrupt:
        print("interrupted")
    print(f"{soaked.seeds} seeds ({', '.join(f'{n} on {kind}' for kind, n in soaked.lived_on.items())}):")
    print(f"{soaked.moments} quiet moments and {soaked.points} points compared, {len(soaked.failed)} seeds failed")
    for each in soaked.failed:
        print(each)
    return 1 if soaked.failed else 0


def _soak(given: argparse.Namespace, source: random.Random, soaked: Soaked) -> None:
    kind = given.file_system or source.choice(FILE_SYSTEMS)
    plan = _plan(given, source)
    print(f"{time.strftime('%H:%M:%S')} {kind}: {plan.arguments}", flush=True)
    began = time.monotonic()
    try:
        with _place(kind, given.keep) as base:
            done = one(base, plan, points_max=given.points, more=f" --file-system {kind}")
    except AssertionError as error:
        print(error, flush=True)
        soaked.failed.append(str(error).partition("\n")[0])
    except pytest.skip.Exception as skipped:
        print(f"    {kind} can't be had here: {skipped}")
        return
    else:
        soaked.points += done.points_checked
        soaked.moments += done.moments
        told = f"{done.moments} moments, {done.points_checked} of {done.points} points, {done.quiet} quiet"
        print(f"    {told}, {done.gaps} gaps; {time.monotonic() - began:.0f} s", flush=True)
    soaked.seeds += 1
    soaked.lived_on[kind] += 1


def _plan(given: argparse.Namespace, source: random.Random) -> Plan:
    """What the arguments say; by chance what they don't, unless a seed is given: then the defaults."""
    seed = given.seed if given.seed is not None else source.randrange(10**9)
    plain = Plan(seed, count=given.count)
    by_chance = given.seed is None
    watch = given.watch or (source.choice(WATCH) if by_chance else "")
    ranges = given.ranges or (source.choice(RANGES) if by_chance else "")
    some = tuple(source.sample(sorted(TROUBLES), source.randrange(0, 4))) if by_chance else ()
    large = source.choice([0, 5, 5, 40]) << 20 if by_chance else plain.large_bytes
    environment = {name: value for name, value in {"BCS_WATCH": watch, "BCS_RANGES": ranges}.items() if value}
    return Plan(
        seed,
        given.count,
        given.workers or (source.choice([1, 2, 4]) if by_chance else plain.workers),
        given.bursts or (source.choice([3, 10, 30]) if by_chance else plain.bursts),
        given.without_pause or (by_chance and source.random() < 0.3),
        tuple(given.trouble or some),
        given.large_bytes if given.large_bytes is not None else large,
        environment=environment,
    )


@contextmanager
def _place(kind: str, keep: Path | None) -> Iterator[Path]:
    """A directory on the file system asked for; what failed there is kept, moved away from a mount that goes."""
    with tempfile.TemporaryDirectory(prefix="histories-") as here:
        if kind == HERE:
            yield from _kept(Path(here), keep)
        else:
            with mounts.mounted(kind, SIZE_BYTES) as path:
                yield from _kept(path, keep)


def _kept(base: Path, keep: Path | None) -> Iterator[Path]:
    try:
        yield base
    except AssertionError:
        to = Path(tempfile.mkdtemp(prefix="failed-history-", dir=keep))
        shutil.copytree(base, to, symlinks=True, dirs_exist_ok=True, ignore=_special)
        print(f"    kept in {to}")
        raise


def _special(directory: str, names: list[str]) -> list[str]:
    """What can't be copied, or need not be: sockets and FIFOs."""
    return [
        name
        for name in names
        if not (path := Path(directory, name)).is_symlink() and (path.is_fifo() or path.is_socket())
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak ARGS=", description="Random histories, for hours.")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="this one, instead of many by chance")
    parser.add_argument("--times", type=int, default=1, help="how often to live the seed")
    parser.add_argument("--count", type=int, default=10_000, help="operations a seed")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--bursts", type=int)
    parser.add_argument("--without-pause", action="store_true", help="no quiet moment but at the end")
    parser.add_argument("--trouble", action="append", choices=sorted(TROUBLES))
    parser.add_argument("--large-bytes", type=int, help="the least size of each worker's large file")
    parser.add_argument("--file-system", choices=FILE_SYSTEMS)
    parser.add_argument("--watch", help="as BCS_WATCH")
    parser.add_argument("--ranges", help="as BCS_RANGES")
    parser.add_argument("--points", type=int, default=60, help="how many points to restore, besides the quiet moments")
    parser.add_argument("--keep", type=Path, help="where what failed is kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
