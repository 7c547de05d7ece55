"""What applications do to a file while it is cold, a function each: done to the cold file and to a plain copy of it.
Both must answer the same and be the same afterwards.

An act gets the path of its own file (random bytes, SIZE of them, unless `content` says otherwise), alone in a directory
where it may make others. An OSError is an answer, too: its errno. The acts are in rows_reading and rows_changing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

BLOCK = 8192
SIZE = 40 * BLOCK + 1234

Act = Callable[[Path], Any]


@dataclass(frozen=True, slots=True)
class Row:
    """`reads` says that the act changes nothing: the file's mtime stays. `kinds` are the file systems that can do it;
    empty for all. `not_by` are mechanisms that don't take part."""

    name: str
    act: Act
    reads: bool
    kinds: tuple[str, ...] = ()
    not_by: tuple[str, ...] = ()
    content: Callable[[Path], None] | None = None


_ROWS: list[Row] = []


def reads(**options: Any) -> Callable[[Act], Act]:
    return _row(True, **options)


def changes(**options: Any) -> Callable[[Act], Act]:
    return _row(False, **options)


def _row(reads: bool, **options: Any) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        _ROWS.append(Row(act.__name__, act, reads, **options))
        return act

    return add


def rows_of(*modules: ModuleType) -> list[Row]:
    """Those that these modules have."""
    names = {module.__name__ for module in modules}
    return [row for row in _ROWS if row.act.__module__ in names]


def make(directory: Path, rows: Sequence[Row]) -> None:
    """The files of these rows, each in a directory with the row's name."""
    source = random.Random(5)
    for number, row in enumerate(rows):
        path = directory / row.name / "file"
        path.parent.mkdir()
        if row.content is not None:
            row.content(path)
        else:
            path.write_bytes(source.randbytes(SIZE))
        stamp = 1_600_000_000_123_456_789 + number * 1_000_000_007
        os.utime(path, ns=(stamp, stamp))


def digest(data: bytes | bytearray | memoryview) -> str:
    return hashlib.md5(data).hexdigest()


def run(*command: str | Path) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout


def answer(row: Row, path: Path) -> Any:
    """What the act answers, or the errno it ends with."""
    try:
        return row.act(path)
    except OSError as error:
        return errno.errorcode[error.errno or errno.EIO]
