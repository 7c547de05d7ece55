"""Files that are still there after a power cut. One job: bytes to disk, whole or not at all.

`create` and `Growing` never overwrite, and a name appears only once its bytes are on the disk (open(2), O_TMPFILE;
linkat(2)). `replace` is for the few files that change: process ids, state. An OSError from any of them leaves it open
whether the name is there; the bytes under a name that is there are whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from engine.env.randomness import token_hex

Buffer: TypeAlias = bytes | bytearray | memoryview
Data: TypeAlias = Buffer | Sequence[Buffer]
Directory: TypeAlias = int | str | os.PathLike[str]

_BUFFERS_A_CALL = 512  # below IOV_MAX, writev(2)
_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2)
# ext2/3/4, XFS, tmpfs: see _settle. Magic numbers from statfs(2).
_NAME_SYNC_IS_ENOUGH = frozenset({0xEF53, 0x58465342, 0x01021994})


def views(data: Data) -> list[memoryview]:
    """`data` as a list of flat byte views; copies nothing."""
    parts = data if isinstance(data, list | tuple) else [data]
    return [memoryview(part).cast("B") for part in parts]  # type: ignore[arg-type]


def create(directory: Directory, name: str, data: Data, *, mode: int = 0o600) -> None:
    """Make the file `name` hold `data`, durably. Raises FileExistsError, durably true too, and then changes nothing."""
    with Growing(directory, mode=mode) as file:
        file.write(data)
        file.publish(name)


def replace(path: str | os.PathLike[str], data: Data, *, mode: int = 0o600) -> None:
    """Put `data` at `path`, durably: after a crash it holds the old bytes or the new ones."""
    path = Path(path)
    temporary = path.parent / f".{token_hex(8)}"
    try:
        fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
        try:
            _write_all(fd, views(data))
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Directory) -> None:
    """Make the names in a directory durable."""
    with _opened(directory) as fd:
        os.fsync(fd)


def make_directories(
    path: str | os.PathLike[str], *, mode: int = 0o700, below: str | os.PathLike[str] | None = None
) -> None:
    """`mkdir -p`, durably.

    With `below`, an ancestor, every name from there down is made durable even if it existed: another process may have
    made it a moment ago and not synced it yet. Raises NotADirectoryError where a file is in the way.
    """
    path = Path(path)
    unsure = list(path.relative_to(below).parts) if below is not None else []
    names = [path, *path.parents][: len(unsure)]
    missing: list[Path] = []
    at = path
    while not at.is_dir():
        missing.append(at)
        at = at.parent
    for each in reversed(missing):
        try:
            each.mkdir(mode)
        except FileExistsError:
            if not each.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(each)) from None
    for parent in sorted({each.parent for each in (*missing, *names)}):
        sync_directory(parent)


class Growing:
    """A create-only file written in pieces. Nobody sees it before `publish`; killed before, nothing remains.

    Write-back starts while it grows, every `write_back_bytes`, so the sync at the end is short. Use it in a `with`
    block: whatever is not published by the end of it is discarded.
    """

    def __init__(self, directory: Directory, *, mode: int = 0o600, write_back_bytes: int = 8 << 20) -> None:
        self.size = 0
        self._write_back_bytes = write_back_bytes
        self._write_back_at = 0
        self._owns_directory = not isinstance(directory, int)
        self._directory = directory if isinstance(directory, int) else _open_directory(directory)
        self._name: str | None = None  # of the temporary, on file systems that have no nameless files
        self._fd = -1
        try:
            self._open(mode)
        except BaseException:
            self.discard()
            raise

    def write(self, data: Data) -> None:
        """Add to the end."""
        self._refuse_when_over()
        parts = views(data)
        _write_all(self._fd, parts)
        self.size += sum(part.nbytes for part in parts)
        if self.size - self._write_back_at >= self._write_back_bytes:
            start_write_back(self._fd, self._write_back_at, self.size - self._write_back_at)
            self._write_back_at = self.size

    def publish(self, name: str) -> None:
        """Give it its name, durably. Raises FileExistsError and discards it. Either way the end of this object."""
        self._refuse_when_over()
        try:
            os.fdatasync(self._fd)
            try:
                self._link(name)
            except FileExistsError:
                # Whoever won may not have synced the name yet, and 'it exists' must hold after a power cut too.
                _settle(self._directory, name)
                raise
            _settle(self._directory, name)
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget it. Harmless when repeated or after `publish`."""
        if self._name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._directory)
            self._name = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._owns_directory and self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()

    def _refuse_when_over(self) -> None:
        if self._fd < 0:
            raise ValueError("the file has been published or discarded")

    def _open(self, mode: int) -> None:
        try:
            self._fd = _open_nameless(self._directory, mode)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
            name = f".{token_hex(8)}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._fd = os.open(name, flags, mode, dir_fd=self._directory)
            self._name = name

    def _link(self, name: str) -> None:
        if self._name is None:
            # Python calls linkat(2) with AT_SYMLINK_FOLLOW only if it is given a directory for the source as well.
            os.link(f"/proc/self/fd/{self._fd}", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            return
        try:
            os.link(self._name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except FileExistsError:
            # Over NFS a repeated request reports the conflict with itself; the link count tells, link(2).
            if os.fstat(self._fd).st_nlink != 2:
                raise


def _open_nameless(directory: int, mode: int) -> int:
    return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=directory)


def _open_directory(path: str | os.PathLike[str]) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextlib.contextmanager
def _opened(directory: Directory) -> Iterator[int]:
    if isinstance(directory, int):
        yield directory
        return
    fd = _open_directory(directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_all(fd: int, parts: list[memoryview]) -> None:
    parts = [part for part in parts if part.nbytes]
    at = 0
    while at < len(parts):
        written = os.writev(fd, parts[at : at + _BUFFERS_A_CALL])
        while at < len(parts) and written >= parts[at].nbytes:
            written -= parts[at].nbytes
            at += 1
        if written:
            parts[at] = parts[at][written:]


def _settle(directory: int, name: str) -> None:
    """Make a new name durable, together with what it names.

    fsync(2) does not say that syncing a directory covers an inode that was synced while it had no name. ext4 and XFS
    log both in one sequence. Elsewhere the file is synced once more under its name; btrfs came through simulated power
    cuts without it (Linux 6.18), but older ones have not been tried, and it costs half a millisecond.
    """
    if _file_system(directory) not in _NAME_SYNC_IS_ENOUGH:
        # Anything may bear the name after a conflict: a FIFO or a link must not hold us up.
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    os.fsync(directory)


def _from_libc(name: str, *argument_types: Any) -> Callable[..., int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = argument_types
        function.restype = ctypes.c_int
    return function


_fstatfs = _from_libc("fstatfs", ctypes.c_int, ctypes.c_void_p)
_sync_file_range = _from_libc("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def _file_system(fd: int) -> int:
    """The magic number of the file system, 0 if it can't be had."""
    answer = (ctypes.c_long * 64)()  # more than any struct statfs; f_type comes first
    if _fstatfs is None or _fstatfs(fd, answer) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF


def start_write_back(fd: int, offset: int, length: int) -> None:
    """A hint: what it can't do, the sync at the end does. Not posix_fadvise, which would drop the pages."""
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)
