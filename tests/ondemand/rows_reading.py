"""Reading a cold file, and copying it, in every way there is."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.tree.sparse import data_ranges
from tests.fidelity import calls
from tests.ondemand.table import BLOCK, SIZE, changes, digest, reads, run

NOBODY = 65534

# Reading.


@reads()
def cat(path: Path) -> str:
    return digest(run("cat", path))


@reads()
def pread(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        spans = [(SIZE - 10, 100), (5 * BLOCK - 3, 6), (0, 1), (20 * BLOCK, BLOCK), (SIZE + 5, 10)]
        return [os.pread(file.fileno(), count, at) for at, count in spans]


@reads()
def direct_read(path: Path) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 4 * BLOCK) as buffer:
            assert os.preadv(fd, [buffer], 16 * BLOCK) == 4 * BLOCK
            return digest(buffer[:])
    finally:
        os.close(fd)


@reads()
def read_ahead_by_advice(path: Path) -> str:
    """What is cold comes into the page cache as zeros then: they are never what is read."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        ctypes.CDLL(None).readahead(file.fileno(), ctypes.c_int64(8 * BLOCK), ctypes.c_size_t(9 * BLOCK))
        return digest(file.read())


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
def lower_layer_of_an_overlay(path: Path) -> str:
    """As a container's read-only layer: the reader comes through a mount of the overlay's own."""
    with tempfile.TemporaryDirectory() as base:
        other, merged = Path(base) / "other", Path(base) / "merged"
        other.mkdir()
        merged.mkdir()
        run("mount", "-t", "overlay", "-o", f"ro,lowerdir={path.parent}:{other}", "overlay", merged)
        try:
            return digest((merged / path.name).read_bytes())
        finally:
            run("umount", "-l", merged)


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
