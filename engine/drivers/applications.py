"""What drivers say of files that came back: databases that they know are found in a tree, and each is asked by its own
means whether it is whole. `python -m engine.drivers.applications TREE SCRATCH` prints it as JSON.

SQLite: its integrity check. With a log or journal beside it the database is copied first, since looking would change
it. PostgreSQL: the checksums of a cluster that was stopped cleanly, by its own pg_checksums where that is installed.

The files may be anybody's: whoever calls this runs it in a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
NAMED_MAX = 5
MESSAGE_CHARS = 300
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-journal")
_PROGRAMS = "/usr/lib/postgresql/{version}/bin", "/usr/pgsql-{version}/bin"


@dataclass(frozen=True, slots=True)
class Found:
    """A database in a tree: a file of SQLite's, or a data directory."""

    kind: str
    path: str


def find(tree: str) -> Iterator[Found]:
    """All that is known, by path. What is below a data directory is its own."""
    for directory, below, names in os.walk(tree):
        below.sort()
        if "PG_VERSION" in names and os.path.isfile(os.path.join(directory, "global", "pg_control")):
            below.clear()
            yield Found(POSTGRESQL, directory)
            continue
        for name in sorted(names):
            path = os.path.join(directory, name)
            if not name.endswith((*_BESIDE, "-shm")) and os.path.isfile(path) and not os.path.islink(path):
                with Path(path).open("rb") as file:
                    if file.read(len(_MAGIC)) == _MAGIC:
                        yield Found(SQLITE, path)


def asked(found: Found, scratch: Path) -> tuple[bool | None, str]:
    """Whether it is whole, and why not; None, and why, where nothing could be asked."""
    try:
        return _sqlite(found.path, scratch) if found.kind == SQLITE else _postgresql(found.path)
    except (OSError, sqlite3.Error) as error:
        return False, str(error)[:MESSAGE_CHARS]


def _sqlite(path: str, scratch: Path) -> tuple[bool, str]:
    beside = [path + each for each in _BESIDE if os.path.exists(path + each) and os.path.getsize(path + each)]
    if not beside:
        return _integrity(f"file:{quote(path)}?mode=ro&immutable=1")
    copied = scratch / "sqlite"
    copied.mkdir(parents=True)
    try:
        for each in (path, *beside):
            shutil.copyfile(each, copied / ("copy" + each.removeprefix(path)))
        return _integrity(f"file:{quote(str(copied / 'copy'))}?mode=rw")
    finally:
        shutil.rmtree(copied)


def _integrity(uri: str) -> tuple[bool, str]:
    base = sqlite3.connect(uri, uri=True)
    try:
        said = [str(row[0]) for row in base.execute("PRAGMA integrity_check(3)")]
    finally:
        base.close()
    return said == ["ok"], "" if said == ["ok"] else "; ".join(said)[:MESSAGE_CHARS]


def _postgresql(directory: str) -> tuple[bool | None, str]:
    version = Path(directory, "PG_VERSION").read_text("ascii", "replace").strip()[:10]
    places = [each.format(version=version) for each in _PROGRAMS if version.replace(".", "").isdigit()]
    program = shutil.which("pg_checksums", path=os.pathsep.join(places))
    if program is None:
        return None, f"pg_checksums of PostgreSQL {version} is not installed here"
    done = subprocess.run([program, "--check", "-D", directory], capture_output=True, text=True, errors="replace")
    if done.returncode == 0:
        return True, ""
    said = (done.stderr or done.stdout).strip()
    if "must be shut down" in said:
        return None, "it was not stopped cleanly at that moment: its log has to be replayed first"
    if "not enabled" in said:
        return None, "it has no checksums"
    return False, said.replace("\n", "; ")[:MESSAGE_CHARS]


def told(tree: str, scratch: Path) -> dict[str, object]:
    """{whole: {kind: count}, wrong: [[path, why]], wrong_count, unasked: [[path, why]], unasked_count}."""
    whole: dict[str, int] = {}
    wrong: list[tuple[str, str]] = []
    unasked: list[tuple[str, str]] = []
    for found in find(tree):
        passed, why = asked(found, scratch)
        if passed:
            whole[found.kind] = whole.get(found.kind, 0) + 1
        else:
            (unasked if passed is None else wrong).append((os.path.relpath(found.path, tree), f"{found.kind}: {why}"))
    return {
        "whole": whole,
        "wrong": wrong[:NAMED_MAX],
        "wrong_count": len(wrong),
        "unasked": unasked[:NAMED_MAX],
        "unasked_count": len(unasked),
    }


if __name__ == "__main__":
    print(json.dumps(told(sys.argv[1], Path(sys.argv[2]))))
