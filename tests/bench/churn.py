"""A process that changes small files at a steady rate: makes, writes anew, renames and deletes them in turn.

    python -m tests.bench.churn DIRECTORY --rate 2000 --seconds 20

Prints JSON: {changes, seconds, written}; `written` are the mtimes (ns) of the files made and written, the last of which
is the last change of all.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

FILES, DIRECTORIES = 2_000, 100
EVERY = 10
"""Changes made at once, so that the rate does not hang on how well a process is woken."""


def prepare(tree: Path) -> None:
    """The files that are there before the first change."""
    for number in range(DIRECTORIES):
        (tree / f"d{number:03d}").mkdir(parents=True)
    for number in range(FILES):
        _path(tree, number).write_bytes(b"before %d " % number * 20)


def churn(tree: Path, rate: float, seconds: float, seed: int = 2006) -> dict[str, object]:
    source, names = random.Random(seed), list(range(FILES))
    written: list[int] = []
    start, count, total = time.perf_counter(), 0, int(rate * seconds)
    fresh = FILES
    while count < total:
        time.sleep(max(0.0, start + count / rate - time.perf_counter()))
        for _ in range(EVERY):
            which, at = count % 5, source.randrange(len(names))
            if which == 3:  # a new name in another directory, most of the time
                os.rename(_path(tree, names[at]), _path(tree, fresh))
                names[at], fresh = fresh, fresh + 1
            elif which == 4:
                _path(tree, names[at]).unlink()
                names[at] = names[-1]
                names.pop()
            else:
                number = fresh if which == 0 else names[at]
                if which == 0:
                    names.append(number)
                    fresh += 1
                written.append(_write(_path(tree, number), b"change %d of many " % count * 30))
            count += 1
    took = time.perf_counter() - start
    written.append(_write(tree / "last", b"the last change"))
    return {"changes": count + 1, "seconds": took, "written": written}


def _write(path: Path, content: bytes) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(fd, content)
    mtime_ns = os.fstat(fd).st_mtime_ns
    os.close(fd)
    return mtime_ns


def _path(tree: Path, number: int) -> Path:
    return tree / f"d{number % DIRECTORIES:03d}" / f"{number:06d}"


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.bench.churn", description=__doc__)
    options.add_argument("tree", type=Path)
    options.add_argument("--rate", type=float, default=2000.0)
    options.add_argument("--seconds", type=float, default=20.0)
    given = options.parse_args()
    json.dump(churn(given.tree, given.rate, given.seconds), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
