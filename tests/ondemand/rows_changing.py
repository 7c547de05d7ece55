"""Writing to a cold file, cutting it, renaming and removing it; and a database in it."""

from __future__ import annotations

import mmap
import os
import sqlite3
from pathlib import Path
from typing import Any

from tests.fidelity import calls
from tests.ondemand.table import BLOCK, SIZE, changes, digest

# Writing.


@changes()
def write_inside_a_block(path: Path) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"new bytes", 7 * BLOCK + 100)


@changes()
def write_over_many_blocks(path: Path) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"W" * (9 * BLOCK), 3 * BLOCK + 17)


@changes()
def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"appended" * 3000)


@changes()
def write_far_behind_the_end(path: Path) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"far", 80 * BLOCK)


@changes()
def direct_write(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 2 * 4096) as buffer:
            buffer[:] = b"d" * 8192
            os.pwritev(fd, [buffer], 9 * BLOCK + 4096)
    finally:
        os.close(fd)


@changes()
def mmap_store(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[11 * BLOCK - 4 : 11 * BLOCK + 4] = b"mappings"
        mapped.flush()


@changes()
def copy_a_range_into_it(path: Path) -> int:
    other = Path(f"{path}-other")
    other.write_bytes(b"other" * 20_000)
    with other.open("rb") as source, path.open("r+b") as target:
        return os.copy_file_range(source.fileno(), target.fileno(), 3000, 100, 2 * BLOCK + 50)


@changes()
def truncate_down(path: Path) -> None:
    os.truncate(path, 10 * BLOCK + 77)


@changes()
def truncate_up(path: Path) -> None:
    os.truncate(path, 90 * BLOCK)


@changes()
def truncate_down_and_up(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(10 * BLOCK + 77)
        file.truncate(SIZE)


@changes()
def truncate_to_nothing_and_up(path: Path) -> None:
    os.truncate(path, 0)
    os.truncate(path, SIZE)


@changes()
def open_with_truncation(path: Path) -> None:
    path.write_bytes(b"short")


@changes()
def open_with_truncation_and_grow(path: Path) -> None:
    with path.open("w+b") as file:
        os.pwrite(file.fileno(), b"grown", 30 * BLOCK)


@changes()
def allocate_more(path: Path) -> None:
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 60 * BLOCK)


@changes()
def punch_hole(path: Path) -> None:
    calls.fallocate(path, calls.PUNCH_HOLE | calls.KEEP_SIZE, 5 * BLOCK + 100, 7 * BLOCK)


@changes(kinds=("ext4", "xfs", "btrfs"))
def zero_range(path: Path) -> None:
    calls.fallocate(path, calls.ZERO_RANGE, 5 * BLOCK + 100, 7 * BLOCK)


@changes(kinds=("ext4", "xfs"), not_by=("fuse",))
def collapse_range(path: Path) -> None:
    calls.fallocate(path, calls.COLLAPSE_RANGE, 4 * BLOCK, 8 * BLOCK)


@changes(kinds=("ext4", "xfs"), not_by=("fuse",))
def insert_range(path: Path) -> None:
    calls.fallocate(path, calls.INSERT_RANGE, 4 * BLOCK, 8 * BLOCK)


@changes()
def times_set_while_cold(path: Path) -> str:
    os.utime(path, ns=(10**18, 10**18))
    found = digest(path.read_bytes())
    assert path.stat().st_mtime_ns == 10**18
    return found


@changes()
def owner_and_attributes_set_while_cold(path: Path) -> str:
    os.chown(path, 1234, 1235)
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"cold")
    return digest(path.read_bytes())


# Names.


@changes()
def rename(path: Path) -> str:
    path.rename(f"{path}-moved")
    return digest(Path(f"{path}-moved").read_bytes())


@changes()
def rename_into_another_directory(path: Path) -> str:
    Path(f"{path}-dir").mkdir()
    path.rename(Path(f"{path}-dir") / "x")
    return digest((Path(f"{path}-dir") / "x").read_bytes())


@changes()
def replaced_by_rename(path: Path) -> str:
    with path.open("rb") as held:
        Path(f"{path}-new").write_bytes(b"new")
        Path(f"{path}-new").rename(path)
        return digest(held.read()) + digest(path.read_bytes())


@changes()
def link_and_unlink(path: Path) -> str:
    os.link(path, f"{path}-linked")
    path.unlink()
    return digest(Path(f"{path}-linked").read_bytes())


@changes()
def unlink_while_open(path: Path) -> str:
    with path.open("rb") as held:
        path.unlink()
        return digest(held.read())


@changes()
def unlink(path: Path) -> None:
    path.unlink()


# Applications.


def _database(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute("create table t (a integer primary key, b text)")
        base.executemany("insert into t values (?, ?)", [(n, f"{n * 7919:0200d}") for n in range(2000)])
        base.execute("create index i on t (b)")
    base.close()


@changes(content=_database)
def sqlite(path: Path) -> list[Any]:
    base = sqlite3.connect(path)
    try:
        found = base.execute("select count(*), sum(a), max(b) from t").fetchall()
        base.execute("update t set b = 'x' || b where a % 97 = 3")
        base.commit()
        found += base.execute("select count(*) from t where b like 'x%'").fetchall()
        return [*found, *base.execute("pragma integrity_check").fetchall()]
    finally:
        base.close()
