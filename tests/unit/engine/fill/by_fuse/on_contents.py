"""Operations on what is in files."""

from __future__ import annotations

import mmap
import os
from functools import partial
from pathlib import Path

from tests.unit.engine.fill.by_fuse.acts import (
    PAST,
    act,
    failing,
    fallocate,
    masked,
    opened,
)


@act
def make_files() -> None:
    for name, size in (("a", 0), ("b", 5), ("c", 100_000), ("big", 5_000_000)):
        Path(name).write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))


@act
def create_modes() -> list[str]:
    found = []
    for number, (mode, mask) in enumerate([(0o666, 0o022), (0o777, 0o077), (0o4755, 0), (0o2710, 0), (0o1600, 0)]):
        with masked(mask), opened(f"mode{number}", os.O_CREAT | os.O_WRONLY, mode) as fd:
            found.append(oct(os.fstat(fd).st_mode))
    return found


@act
def create_exclusive() -> list[str]:
    return [failing(partial(os.open, name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)) for name in ("a", "big")]


@act
def create_without_permission_to_write() -> bytes:
    with opened("readonly", os.O_CREAT | os.O_RDWR, 0o400) as fd:
        os.write(fd, b"written all the same")
        return os.pread(fd, 100, 0)


@act
def create_in_what_is_no_directory() -> list[str]:
    return [failing(partial(os.open, name, os.O_CREAT | os.O_WRONLY)) for name in ("b/x", "nothing/x", "n" * 256)]


@act
def write_append() -> object:
    with opened("b", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"appended")
        os.pwrite(fd, b"too", 0)
        return os.lseek(fd, 0, os.SEEK_CUR), os.fstat(fd).st_size


@act
def write_in_pieces() -> None:
    with opened("c", os.O_RDWR) as fd:
        for offset in (1, 4095, 4097, 8191, 65536, 99_990, 150_000):
            os.pwrite(fd, b"piece" * 10, offset)


@act
def write_large() -> None:
    with opened("large", os.O_CREAT | os.O_WRONLY) as fd:
        assert os.write(fd, b"0123456789abcdef" * 300_000) == 4_800_000


@act
def write_nothing() -> int:
    with opened("a", os.O_WRONLY) as fd:
        return os.write(fd, b"")


@act
def read_past_the_end() -> list[int]:
    with opened("b", os.O_RDONLY) as fd:
        return [len(os.pread(fd, size, offset)) for size, offset in ((100, 0), (100, 10), (100, 100), (1 << 20, 3))]


@act
def read_what_is_for_writing() -> str:
    with opened("b", os.O_WRONLY) as fd:
        return failing(lambda: os.read(fd, 1))


@act
def write_what_is_for_reading() -> str:
    with opened("b", os.O_RDONLY) as fd:
        return failing(lambda: os.write(fd, b"x"))


@act
def write_synchronously() -> None:
    with opened("sync", os.O_CREAT | os.O_WRONLY | os.O_SYNC) as fd:
        os.write(fd, b"sync")
        os.fsync(fd)
        os.fdatasync(fd)
    with opened(".", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


@act
def direct() -> object:
    room = mmap.mmap(-1, 8192)
    room[:] = b"d" * 8192
    with opened("direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT) as fd:
        os.pwrite(fd, room, 4096)
        got = mmap.mmap(-1, 4096)
        return os.preadv(fd, [got], 4096), bytes(got) == b"d" * 4096


@act
def map_shared() -> None:
    with opened("mapped", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, 10_000)
        with mmap.mmap(fd, 10_000) as mapped:
            mapped[5000:5005] = b"store"
            mapped.flush()
            assert os.pread(fd, 5, 5000) == b"store"
            os.pwrite(fd, b"write", 9000)
            assert mapped[9000:9005] == b"write"


@act
def map_what_was_there() -> int:
    Path("c").touch()
    os.utime("c", ns=(PAST, PAST))
    before = os.stat("c").st_mtime_ns
    with opened("c", os.O_RDWR) as fd, mmap.mmap(fd, 4096) as mapped:
        mapped[10:20] = b"stored in c"[:10]
        mapped.flush()
        assert os.stat("c").st_mtime_ns != before
    return before


@act
def map_privately() -> bytes:
    with opened("c", os.O_RDONLY) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=2) as mapped:
        mapped[0:7] = b"private"
        return mapped[4090:4100]


@act
def truncate() -> list[object]:
    os.truncate("c", 50_001)
    with opened("c", os.O_RDWR) as fd:
        os.ftruncate(fd, 60_000)
        tail = os.pread(fd, 100_000, 50_000) == b"\x52" + bytes(9_999) or os.pread(fd, 20, 49_999)
    os.truncate("b", 3)
    with opened("big", os.O_RDWR | os.O_TRUNC) as fd:
        return [str(tail), os.fstat(fd).st_size, failing(lambda: os.truncate("nothing", 1))]


@act
def truncate_what_is_open() -> object:
    with opened("b", os.O_RDWR) as fd, opened("b", os.O_RDONLY) as other:
        os.pread(other, 10, 0)
        os.ftruncate(fd, 1)
        return os.pread(other, 10, 0), os.fstat(other).st_size


@act
def allocate() -> list[object]:
    with opened("room", os.O_CREAT | os.O_RDWR) as fd:
        os.posix_fallocate(fd, 0, 20_000)
        os.pwrite(fd, b"x" * 20_000, 0)
        fallocate(fd, 1, 0, 100_000)
        fallocate(fd, 3, 4096, 8192)
        fallocate(fd, 0x10, 100, 200)
        return [
            os.fstat(fd).st_size,
            failing(lambda: fallocate(fd, 0, -1, 10)),
            failing(lambda: fallocate(fd, 2, 0, 10)),
        ]


@act
def seek_data_and_holes() -> list[object]:
    with opened("holes", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, 1 << 20)
        os.pwrite(fd, b"data", 1 << 19)
        os.fsync(fd)
        return [
            *(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 1 << 19, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_HOLE)),
            failing(lambda: os.lseek(fd, 1 << 20, os.SEEK_DATA)),
            failing(lambda: os.lseek(fd, (1 << 19) + 8192, os.SEEK_DATA)),
        ]


@act
def copy_ranges() -> object:
    with opened("c", os.O_RDONLY) as source, opened("copied", os.O_CREAT | os.O_RDWR) as target:
        done = os.copy_file_range(source, target, 30_000, 100, 5)
        return done, os.sendfile(target, source, 0, 1000), os.copy_file_range(source, target, 10, 1 << 30)
