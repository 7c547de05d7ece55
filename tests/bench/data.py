"""The three data sets of the benchmarks, made once and the same for all who are compared.

sources   20,000 or more files of real Python source; files beyond the first round over what this
          machine has are rotated by a line count of their own, so that no two are alike
random    incompressible: 64 files of 4 MiB
database  an SQLite database of 8 KiB pages with accounts as pgbench makes them (blank-padded), and an index
words     the same, each account with a text of a dozen words instead: pages that compress badly
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

SOURCE_FILES = 20_000
RANDOM_FILES = 64
RANDOM_FILE_BYTES = 4 << 20
DATABASE_ROWS = 2_600_000
WORDS_ROWS = 1_200_000

NAMES = ("sources", "random", "database", "words")


def make(name: str, directory: Path) -> Path:
    """The data set of that name below `directory`; what is there already is used."""
    target = directory / name
    done = directory / f"{name}.done"
    if not done.exists():
        target.mkdir(parents=True, exist_ok=True)
        {"sources": _sources, "random": _random, "database": _padded, "words": _words}[name](target)
        os.sync()
        done.touch()
    return target


def measure(tree: Path) -> tuple[int, int]:
    """Files and bytes of a tree."""
    sizes = [path.stat().st_size for path in tree.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def _corpus() -> list[Path]:
    roots = {Path(sysconfig.get_paths()[key]) for key in ("stdlib", "purelib")} | {Path(sys.base_prefix) / "include"}
    found = (path for root in sorted(roots) for path in root.rglob("*") if path.suffix in (".py", ".pyi", ".h", ".txt"))
    return sorted({path for path in found if path.is_file() and 0 < path.stat().st_size < 1 << 20})


def _sources(target: Path) -> None:
    corpus = _corpus()
    for number in range(SOURCE_FILES):
        path = corpus[number % len(corpus)]
        turn = number // len(corpus)
        lines = path.read_bytes().splitlines(keepends=True)
        cut = turn * 17 % max(1, len(lines))
        directory = target / f"round{turn}" / f"{number % 200:03d}"
        directory.mkdir(parents=True, exist_ok=True)
        stamp = [b"# round %d of %d\n" % (turn, number)] if turn else []
        (directory / f"{number:05d}_{path.name}").write_bytes(b"".join([*stamp, *lines[cut:], *lines[:cut]]))


def _random(target: Path) -> None:
    source = random.Random(2006)
    for number in range(RANDOM_FILES):
        (target / f"{number:03d}.bin").write_bytes(source.randbytes(RANDOM_FILE_BYTES))


def _padded(target: Path) -> None:
    source = random.Random(2006)
    _database(target, source, DATABASE_ROWS, lambda: f"{source.getrandbits(80):020x}".ljust(84))


def _words(target: Path) -> None:
    source = random.Random(2006)
    words = sorted({word for path in _corpus()[:200] for word in path.read_text(errors="replace").split()})
    _database(target, source, WORDS_ROWS, lambda: " ".join(source.choices(words, k=12)))


def _database(target: Path, source: random.Random, rows: int, text: Callable[[], str]) -> None:
    connection = sqlite3.connect(target / "accounts.sqlite")
    connection.execute("pragma page_size = 8192")
    connection.execute("pragma journal_mode = off")
    connection.execute("pragma synchronous = off")
    connection.execute("create table accounts (aid integer primary key, bid int, abalance int, filler text)")
    accounts = ((number, number // 100_000, source.randrange(-5000, 5000), text()) for number in range(rows))
    connection.executemany("insert into accounts values (?, ?, ?, ?)", accounts)
    connection.execute("create index by_balance on accounts (abalance, aid)")
    connection.commit()
    connection.close()
