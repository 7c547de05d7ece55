"""Rows: what is done to the bytes of a file."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fidelity import calls
from tests.fidelity.rows import Place, pwrite, row

KIB, MIB = 1 << 10, 1 << 20
LETTERS = bytes(range(97, 123)) * 40

NO_CLONES = {each: f"no reflinks on {each}" for each in ("ext4", "tmpfs")} | {"overlayfs": "its layers are on ext4"}
UNTRACED = (
    "The kernel traces no writes here: files that are mapped to store into are compared in turn, as long as they are, "
    "in seconds or at the pace of big files"
)
LATE = dict.fromkeys(("btrfs", "tmpfs", "overlayfs"), UNTRACED)
RESERVED = {"data": "reserved space without data comes back as a hole or as zeros, which read the same"}
NO_RANGES = {"btrfs": "btrfs has no such call", "tmpfs": "tmpfs has no such call"}


def some(count: int, seed: int = 1) -> bytes:
    """That many bytes that don't compress to nothing and differ from those of another seed."""
    piece = b"".join((number * 2_654_435_761 * seed % (1 << 32)).to_bytes(4, "little") for number in range(1, 2049))
    return (piece * (count // len(piece) + 1))[:count]


@row("Content", "write in the middle")
def write(at: Place) -> Iterator[None]:
    file = at.file("file", some(100_000))
    yield
    pwrite(file, b"changed", 50_000)


@row("Content", "append")
def append(at: Place) -> Iterator[None]:
    file = at.file("file", some(100_000))
    yield
    with file.open("ab") as opened:
        opened.write(b"more")


@row("Content", "growth with a change inside")
def growth(at: Place) -> Iterator[None]:
    file = at.file("file", some(100_000))
    yield
    with file.open("r+b") as opened:
        opened.write(b"changed")
        opened.seek(0, 2)
        opened.write(some(5000, 7))


@row("Content", "a change of the same size with the time put back")
def time_put_back(at: Place) -> Iterator[None]:
    file = at.file("file")
    os.utime(file, ns=(10**18, 10**18))
    yield
    file.write_bytes(b"AFTER!")
    os.utime(file, ns=(10**18, 10**18))


@row("Content", "a file of more than 4 MiB changed at both ends")
def both_ends(at: Place) -> Iterator[None]:
    file = at.file("file", some(9 * MIB))
    yield
    pwrite(file, b"first", 0)
    pwrite(file, b"last", 9 * MIB - 4)


@row("Content", "truncate by path")
def truncate_path(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    yield
    os.truncate(file, 12_345)


@row("Content", "truncate by descriptor")
def truncate_fd(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    yield
    with file.open("r+b") as opened:
        opened.truncate(12_345)


@row("Content", "truncate by O_TRUNC")
def o_trunc(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    yield
    os.close(os.open(file, os.O_WRONLY | os.O_TRUNC))


@row("Content", "grown by truncate")
def truncate_up(at: Place) -> Iterator[None]:
    file = at.file("file", some(5000))
    yield
    os.truncate(file, 3 * MIB)


@row("Content", "cut and grown again")
def cut_and_grown(at: Place) -> Iterator[None]:
    file = at.file("file", some(300_000))
    yield
    os.truncate(file, 10_000)
    os.truncate(file, 300_000)


@row("Content", "empty files")
def empty(at: Place) -> Iterator[None]:
    emptied = at.file("emptied")
    at.file("always")
    os.truncate(emptied, 0)
    yield
    at.file("new", b"")
    at.file("filled", b"").write_bytes(b"now")


@row("Content", "zeros that were written")
def zeros(at: Place) -> Iterator[None]:
    file = at.file("file", some(64 * KIB))
    yield
    pwrite(file, bytes(32 * KIB), 16 * KIB)
    at.file("new", bytes(64 * KIB))


@row("Content", "fallocate beyond the end", either=RESERVED)
def fallocate(at: Place) -> Iterator[None]:
    file = at.file("file", some(5000))
    yield
    calls.fallocate(file, 0, 0, 200 * KIB)


@row("Content", "space reserved beyond the end (KEEP_SIZE)", either=RESERVED)
def fallocate_keep(at: Place) -> Iterator[None]:
    file = at.file("file", some(5000))
    yield
    calls.fallocate(file, calls.KEEP_SIZE, 0, 200 * KIB)
    pwrite(file, b"changed", 0)


@row("Content", "punch hole")
def punch(at: Place) -> Iterator[None]:
    file = at.file("file", some(256 * KIB))
    yield
    calls.fallocate(file, calls.PUNCH_HOLE | calls.KEEP_SIZE, 64 * KIB, 64 * KIB)


@row("Content", "zero range", impossible={"tmpfs": "tmpfs has no such call"}, either=RESERVED)
def zero_range(at: Place) -> Iterator[None]:
    file = at.file("file", some(256 * KIB))
    yield
    calls.fallocate(file, calls.ZERO_RANGE, 64 * KIB, 64 * KIB)


@row("Content", "collapse range", impossible=NO_RANGES)
def collapse(at: Place) -> Iterator[None]:
    file = at.file("file", some(256 * KIB) + LETTERS)
    yield
    calls.fallocate(file, calls.COLLAPSE_RANGE, 64 * KIB, 64 * KIB)


@row("Content", "insert range", impossible=NO_RANGES)
def insert(at: Place) -> Iterator[None]:
    file = at.file("file", some(256 * KIB) + LETTERS)
    yield
    calls.fallocate(file, calls.INSERT_RANGE, 64 * KIB, 64 * KIB)


@row("Content", "sparse file")
def sparse(at: Place) -> Iterator[None]:
    with at.file("file").open("r+b") as opened:
        opened.truncate(40 * MIB)
    yield
    pwrite(at.here / "file", b"in the middle", 20 * MIB)
    with at.file("new").open("r+b") as opened:
        opened.seek(2 * MIB)
        opened.write(some(10_000))


@row("Content", "sparse file of 8 TiB, written beyond 4 GiB")
def huge(at: Place) -> Iterator[None]:
    with at.file("file").open("r+b") as opened:
        opened.truncate(8 << 40)
    yield
    pwrite(at.here / "file", b"beyond 32 bits", (5 << 30) + 7)
    pwrite(at.here / "file", b"at the end", (8 << 40) - 10)


@row("Content", "O_DIRECT")
def direct(at: Place) -> Iterator[None]:
    file = at.file("file", some(64 * KIB))
    yield
    with mmap.mmap(-1, 8 * KIB) as aligned:
        aligned.write(some(8 * KIB, 3))
        fd = os.open(file, os.O_WRONLY | os.O_DIRECT)
        try:
            os.pwritev(fd, [aligned], 16 * KIB)
        finally:
            os.close(fd)


@row("Content", "sendfile")
def sendfile(at: Place) -> Iterator[None]:
    other, file = at.file("other", some(40_000, 3)), at.file("file", some(50_000))
    yield
    with other.open("rb") as source, file.open("r+b") as target:
        os.sendfile(target.fileno(), source.fileno(), 0, 40_000)


@row("Content", "splice")
def splice(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    yield
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", 0) as into, file.open("r+b") as target:
        into.write(b"through a pipe")
        os.splice(pipe.fileno(), target.fileno(), 14, offset_dst=1000)


@row("Content", "copy_file_range")
def copy_file_range(at: Place) -> Iterator[None]:
    other, file = at.file("other", some(40_000, 3)), at.file("file", some(50_000))
    yield
    with other.open("rb") as source, file.open("r+b") as target:
        os.copy_file_range(source.fileno(), target.fileno(), 40_000, 0, 5000)


@row("Content", "reflink copy (FICLONE)", impossible=NO_CLONES)
def ficlone(at: Place) -> Iterator[None]:
    other, file = at.file("other", some(256 * KIB, 3)), at.file("file", some(5000))
    yield
    calls.ficlone(other, file)
    calls.ficlone(other, at.here / "new")
    pwrite(at.here / "new", b"changed after", 128 * KIB)


@row("Content", "reflink of a range (FICLONERANGE)", impossible=NO_CLONES)
def ficlonerange(at: Place) -> Iterator[None]:
    other, file = at.file("other", some(256 * KIB, 3)), at.file("file", some(256 * KIB))
    yield
    calls.ficlonerange(other, 64 * KIB, 64 * KIB, file, 128 * KIB)


@row("Content", "deduplicated (FIDEDUPERANGE)", impossible=NO_CLONES)
def dedupe(at: Place) -> Iterator[None]:
    other, file = at.file("other", some(128 * KIB, 3)), at.file("file", some(128 * KIB, 3))
    yield
    calls.fideduperange(other, file, 128 * KIB)


@row("Content", "mmap stores, file closed afterwards")
def mmap_closed(at: Place) -> Iterator[None]:
    file = at.file("file", some(64 * KIB))
    yield
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[20_000:20_006] = b"stored"


@row("Content", "mmap stores, file still mapped", late=LATE)
def mmap_open(at: Place) -> Iterator[None]:
    file = at.file("file", some(64 * KIB))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        yield
        mapped[20_000:20_006] = b"stored"
        yield


@row("Content", "mmap stores and msync, file still mapped", late=LATE)
def mmap_synced(at: Place) -> Iterator[None]:
    file = at.file("file", some(64 * KIB))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        yield
        mapped[20_000:20_006] = b"stored"
        mapped.flush()
        yield


@row("Content", "mmap stores into pages that were written to just before")
def mmap_dirty(at: Place) -> Iterator[None]:
    file = at.file("file", some(2 * MIB))
    yield
    pwrite(file, b"written", 500_000)
    time.sleep(0.1)  # the agent looks at what was written
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[500_100:500_106] = b"stored"


@row("Content", "a file that stays open")
def stays_open(at: Place) -> Iterator[None]:
    with at.file("file", some(50_000)).open("r+b", 0) as opened:
        yield
        opened.write(b"changed")
        yield


@row("Content", "written to after it was renamed")
def after_rename(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    yield
    with file.open("r+b", 0) as opened:
        file.rename(at.here / "renamed")
        opened.write(b"changed")


@row("Content", "written to after it was unlinked")
def after_unlink(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    with file.open("r+b", 0) as opened:
        yield
        file.unlink()
        opened.write(b"changed")
        at.file("file", b"another one")
        opened.write(b"again")
        yield


def _link(fd: int, path: Path) -> None:
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)  # with a dir_fd it is linkat(2)


@row("Content", "O_TMPFILE and linkat")
def tmpfile(at: Place) -> Iterator[None]:
    at.file("file")
    yield
    fd = os.open(at.here, os.O_TMPFILE | os.O_RDWR, 0o640)
    try:
        os.write(fd, b"before it had a name")
        _link(fd, at.here / "new")
        os.pwrite(fd, b"after", 5)
    finally:
        os.close(fd)


@row("Content", "O_TMPFILE, written to long after linkat")
def tmpfile_later(at: Place) -> Iterator[None]:
    fd = os.open(at.here, os.O_TMPFILE | os.O_RDWR, 0o640)
    try:
        _link(fd, at.here / "file")
        yield
        os.pwrite(fd, b"after", 5)
        yield
    finally:
        os.close(fd)
