"""What applications do to a file while it is cold, a function each: done to the cold file and to a plain copy of it.
Both must answer the same and be the same afterwards.

An act gets the path of its own file (random bytes, SIZE of them, unless `content` says otherwise), alone in a directory
where it may make others. An OSError is an answer, too: its errno.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.tree.sparse import data_ranges
from tests.fidelity import calls

BLOCK = 8192
SIZE = 40 * BLOCK + 1234
NOBODY = 65534

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


ROWS: list[Row] = []


def reads(**options: Any) -> Callable[[Act], Act]:
    return _row(True, **options)


def changes(**options: Any) -> Callable[[Act], Act]:
    return _row(False, **options)


def _row(reads: bool, **options: Any) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        ROWS.append(Row(act.__name__, act, reads, **options))
        return act

    return add


def make(directory: Path) -> None:
    """The files of all rows, each in a directory with the row's name."""
    source = random.Random(5)
    for number, row in enumerate(ROWS):
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


# Reading.


@reads()
def cat(path: Path) -> str:
    return digest(run("cat", path))


@reads()
def pread(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        spans = [(SIZE - 10, 100), (5 * BLOCK - 3, 6), (0, 1), (20 * BLOCK, BLOCK), (SIZE + 5, 10)]
        return [os.pread(file.fileno(), count, at) for at, count in spans]


@reads(not_by=("fuse",))
def direct_read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 4 * BLOCK) as buffer:
            assert os.preadv(fd, [buffer], 16 * BLOCK) == 4 * BLOCK
            return digest(buffer[:])
    finally:
        os.close(fd)


@reads()
def sendfile(path: Path) -> str:
    out = os.memfd_create("out")
    with path.open("rb") as file:
        while os.sendfile(out, file.fileno(), None, 1 << 30):
            pass
    found = digest(os.pread(out, SIZE + 1, 0))
    os.close(out)
    return found


@reads()
def splice(path: Path) -> str:
    ends = os.pipe()
    whole = b""
    with path.open("rb") as file:
        while count := os.splice(file.fileno(), ends[1], 3 * BLOCK):
            whole += os.read(ends[0], count)
    for end in ends:
        os.close(end)
    return digest(whole)


@reads()
def mmap_read(path: Path) -> list[bytes]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        return [mapped[at : at + 100] for at in (17 * BLOCK - 50, 0, SIZE - 100)]


@reads()
def mremap_beyond_what_was_mapped(path: Path) -> list[bytes]:
    """By mremap(2) itself: Python's resize() would change the file's size, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("rb") as file:
        small = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    large = libc.mremap(small, 4096, SIZE, 1)  # MREMAP_MAYMOVE
    found = [ctypes.string_at(large + at, 100) for at in (0, 30 * BLOCK, SIZE - 100)]
    libc.munmap(large, SIZE)
    return found


@reads()
def seek_data_after_reading(path: Path) -> list[tuple[int, int]]:
    with path.open("rb") as file:
        file.read()
        return data_ranges(file.fileno(), SIZE)


@reads()
def by_many_threads(path: Path) -> str:
    with path.open("rb") as file, ThreadPoolExecutor(8) as threads:
        parts = threads.map(lambda at: os.pread(file.fileno(), 5000, at), range(0, SIZE, 5000))
        return digest(b"".join(parts))


def _program(path: Path) -> None:
    shutil.copy("/bin/echo", path)
    path.chmod(0o755)


def _script(path: Path) -> None:
    path.write_text(f"#!{sys.executable}\nprint(6 * 7)\n" + "# filling\n" * 3000)
    path.chmod(0o755)


@reads(content=_program)
def program(path: Path) -> bytes:
    return run(path, "hello")


@reads(content=_script)
def script(path: Path) -> bytes:
    return run(path)


@reads()
def touched_nowhere(path: Path) -> int:
    return path.stat().st_size


@reads()
def read_only_bind_mount(path: Path) -> str:
    with tempfile.TemporaryDirectory() as aside:
        run("mount", "--bind", "-o", "ro", path.parent, aside)
        try:
            return digest((Path(aside) / path.name).read_bytes())
        finally:
            run("umount", "-l", aside)


@reads()
def truncation_that_is_refused(path: Path) -> tuple[int, str]:
    """One who may not write asks to cut the file: it stays as it is, all of it."""
    path.chmod(0o644)
    cut = f"import os\nos.setuid({NOBODY})\ntry:\n os.truncate({str(path)!r}, 10)\nexcept OSError as e: print(e.errno)"
    done = subprocess.run([sys.executable, "-c", cut], capture_output=True, check=True)
    return int(done.stdout or 0), digest(path.read_bytes())


# Copying by tools.


@changes()
def cp(path: Path) -> str:
    run("cp", path, f"{path}-copy")
    return digest(Path(f"{path}-copy").read_bytes())


@changes()
def tar(path: Path) -> str:
    """A fill sets ctime, of which tar 1.34 says "file changed as we read it" (exit 1); the archive is right."""
    done = subprocess.run(["tar", "-C", path.parent, "-Scf", f"{path}-archive", path.name], capture_output=True)
    assert done.returncode in (0, 1), done.stderr
    found = digest(run("tar", "-xOf", f"{path}-archive"))
    Path(f"{path}-archive").unlink()
    return found


@changes()
def rsync(path: Path) -> str:
    run("rsync", "-a", "--inplace", path, f"{path}-copy")
    return digest(Path(f"{path}-copy").read_bytes())


@changes()
def copy_file_range(path: Path) -> str:
    with path.open("rb") as source, Path(f"{path}-copy").open("w+b") as target:
        left = SIZE
        while left:
            left -= os.copy_file_range(source.fileno(), target.fileno(), left)
    return digest(Path(f"{path}-copy").read_bytes())


@changes(kinds=("xfs", "btrfs"), not_by=("fuse",))
def clone(path: Path) -> str:
    calls.ficlone(path, Path(f"{path}-clone"))
    return digest(Path(f"{path}-clone").read_bytes())


@changes(kinds=("xfs", "btrfs"), not_by=("fuse",))
def clone_a_range_into_it(path: Path) -> str:
    other = Path(f"{path}-other")
    other.write_bytes(b"other" * 20_000)
    calls.ficlonerange(other, 0, 2 * BLOCK, path, 6 * BLOCK)
    return digest(path.read_bytes())


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


@changes(not_by=("fuse",))
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


def answer(row: Row, path: Path) -> Any:
    """What the act answers, or the errno it ends with."""
    try:
        return row.act(path)
    except OSError as error:
        return errno.errorcode[error.errno or errno.EIO]
