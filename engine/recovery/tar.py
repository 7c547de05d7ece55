"""A restore as a tar stream: what was there then, for a pipe, a tape, another machine.

The pax format (POSIX.1-2001), with times to the nanosecond, extended attributes as GNU tar and star write them
(SCHILY.xattr), and holes as GNU tar has them (engine.recovery.tar_holes). Every byte's hash is checked before it is
given out. tar has no sockets: those are left out and named.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, cast

from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model import acls, xattrs
from engine.model.events import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK
from engine.model.extents import Piece
from engine.plan.restore import Made, RestorePlan
from engine.recovery.restore import Progress
from engine.recovery.tar_holes import Holes, holes_of, placeholder

HERE = b"."
"""What a plan for a stream is made for: names in it begin with `./`."""

_TYPES = {
    FILE: tarfile.REGTYPE,
    DIRECTORY: tarfile.DIRTYPE,
    SYMLINK: tarfile.SYMTYPE,
    FIFO: tarfile.FIFOTYPE,
    CHARACTER: tarfile.CHRTYPE,
    BLOCK: tarfile.BLKTYPE,
}
_ZEROS = memoryview(bytes(1 << 20))
_SECOND = 1_000_000_000
_NAME_MAX, _ID_MAX, _SIZE_MAX = 100, 0o7777777, 0o77777777777
"""What a ustar header has room for."""


@dataclass(slots=True)
class Packed:
    """What went into a stream: `content_bytes` without holes. `left_out` are the paths of sockets."""

    files: int = 0
    names: int = 0
    content_bytes: int = 0
    left_out: list[bytes] = field(default_factory=list)


def write(
    out: IO[bytes],
    journal: Journal,
    stream: str,
    plan: RestorePlan,
    pieces: Mapping[int, Sequence[Piece]],
    progress: Progress,
) -> Packed:
    """Write what is planned, parents first. Raises Damaged: the stream then ends in the middle, and is no archive."""
    [packed] = write_all(out, journal, [Packing(stream, plan, pieces)], progress)
    return packed


@dataclass(frozen=True, slots=True)
class Packing:
    """What goes into an archive of one stream: `pieces` are those of the plan's files, by file_id."""

    stream: str
    plan: RestorePlan
    pieces: Mapping[int, Sequence[Piece]]


def write_all(out: IO[bytes], journal: Journal, parts: Sequence[Packing], progress: Progress) -> list[Packed]:
    """`write` several plans into one archive; what went into it of each. None of their targets lies in another."""
    reader = DataReader(journal)
    packed = [Packed() for _ in parts]
    # Names are bytes to us: what is no UTF-8 comes out as it was.
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for part, own in zip(parts, packed, strict=True):
            _pack(archive, reader, part, own, progress)
    out.flush()
    return packed


def _pack(archive: tarfile.TarFile, reader: DataReader, part: Packing, packed: Packed, progress: Progress) -> None:
    for name, made, is_link in _names(part.plan):
        if made.inode.type == SOCKET:
            packed.left_out.append(name)
            continue
        is_file = made.inode.type == FILE and not is_link
        size = made.inode.size if is_file else 0
        own = part.pieces.get(made.inode.file_id, ()) if is_file else ()
        holes = holes_of(own, size) if is_file else None
        entry, records = _entry(name, made, is_link, holes)
        if records:
            archive.addfile(_extended(records), io.BytesIO(records))
        if is_file:
            _add(archive, entry, _Content(reader, part.stream, own, size, holes))
        else:
            archive.addfile(entry)
        packed.names += 1
        packed.files += is_file
        packed.content_bytes += sum(piece.length for piece in own if piece.data is not None)
        progress(int(is_file), size)


def _names(plan: RestorePlan) -> list[tuple[bytes, Made, bool]]:
    """(name, what it leads to, whether it is a further name) as a walk meets them: tar gives a directory its times
    when it leaves it, so nothing may come back to it."""
    found: list[tuple[bytes, Made, bool]] = []
    for made in (*plan.directories, *plan.files, *plan.others):
        first, *more = sorted((made.target, *made.links), key=_walked)
        found.append((first, Made(first, made.inode), False))
        found += [(name, Made(first, made.inode), True) for name in more]
    return sorted(found, key=lambda each: _walked(each[0]))


def _walked(name: bytes) -> list[bytes]:
    return name.split(b"/")


def _entry(name: bytes, made: Made, is_link: bool, holes: Holes | None) -> tuple[tarfile.TarInfo, bytes]:
    """The header of a name, and the pax records for what has no room in it."""
    inode = made.inode
    entry = tarfile.TarInfo()
    entry.type = tarfile.LNKTYPE if is_link else _TYPES[inode.type]
    entry.mode = inode.mode
    entry.devmajor, entry.devminor = os.major(inode.rdev), os.minor(inode.rdev)
    more: dict[str, bytes] = {}
    entry.name = _short(more, "path", name) if holes is None else _short({}, "path", placeholder(name))
    entry.linkname = _short(more, "linkpath", made.target if is_link else inode.target)
    entry.uid = _small(more, "uid", inode.uid, _ID_MAX)
    entry.gid = _small(more, "gid", inode.gid, _ID_MAX)
    entry.size = inode.size if inode.type == FILE and not is_link else 0
    if holes is not None:
        more |= holes.records(name)
        entry.size = holes.kept_bytes
    if entry.size > _SIZE_MAX:
        more["size"] = b"%d" % entry.size
    seconds, nanoseconds = divmod(inode.mtime_ns, _SECOND)
    entry.mtime = seconds if 0 <= seconds <= _SIZE_MAX else 0
    if nanoseconds or entry.mtime != seconds:
        more["mtime"] = _decimal(inode.mtime_ns)
    for each, value in xattrs.decode(inode.xattrs).items() if inode.xattrs and not is_link else ():
        kind = acls.KINDS.get(each)
        more[f"SCHILY.acl.{kind}" if kind else f"SCHILY.xattr.{os.fsdecode(each)}"] = (
            acls.text(value) if kind else value
        )
    return entry, b"".join(_record(key, value) for key, value in more.items())


def _short(more: dict[str, bytes], key: str, value: bytes) -> str:
    """A name as the header holds it; a longer one, or one that is no ASCII, goes into the records."""
    if len(value) <= _NAME_MAX and value.isascii():
        return value.decode("ascii")
    more[key] = value
    return "see the pax record"


def _small(more: dict[str, bytes], key: str, value: int, most: int) -> int:
    if value <= most:
        return value
    more[key] = b"%d" % value
    return most


def _decimal(mtime_ns: int) -> bytes:
    """Seconds since 1970 with nanoseconds, as pax has them."""
    seconds, nanoseconds = divmod(abs(mtime_ns), _SECOND)
    return b"%s%d.%09d" % (b"-" if mtime_ns < 0 else b"", seconds, nanoseconds)


def _record(key: str, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE`, its own length counted. Values are bytes as they are, as GNU tar and star take them."""
    rest = b" " + os.fsencode(key) + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _extended(records: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, len(records)
    return entry


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo, content: _Content) -> None:
    """A header and the bytes behind it."""
    if entry.size <= _SIZE_MAX:
        archive.addfile(entry, cast(IO[bytes], content))
        return
    size, entry.size = entry.size, 0  # it stands in the records: there is no room for it here
    archive.addfile(entry)
    out = cast(IO[bytes], archive.fileobj)
    for _ in range(-(-size // len(_ZEROS))):
        out.write(content.read(len(_ZEROS)))
    out.write(_ZEROS[: -size % tarfile.BLOCKSIZE])
    archive.offset += size + -size % tarfile.BLOCKSIZE
    entry.size = size


class _Content:
    """A file's bytes to be read from the beginning to its end; without `holes` they are zeros."""

    def __init__(
        self, reader: DataReader, stream: str, pieces: Sequence[Piece], size: int, holes: Holes | None
    ) -> None:
        regions = ((0, size),) if holes is None else holes.regions
        self._parts = self._all(reader, stream, pieces, regions, b"" if holes is None else holes.map)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes | memoryview:
        """As many bytes as are at hand, `size` at most; tarfile(3) asks for whole buffers."""
        gathered: list[memoryview] = []
        wanted = size
        while wanted:
            if not self._rest:
                self._rest = next(self._parts, memoryview(b""))
                if not self._rest:
                    break
            part, self._rest = self._rest[:wanted], self._rest[wanted:]
            gathered.append(part)
            wanted -= len(part)
        return gathered[0] if len(gathered) == 1 else b"".join(gathered)

    @staticmethod
    def _all(
        reader: DataReader, stream: str, pieces: Sequence[Piece], regions: Sequence[tuple[int, int]], map: bytes
    ) -> Iterator[memoryview]:
        if map:
            yield memoryview(map)
        left = deque(pieces)
        for at, length in regions:
            end = at + length
            while left and left[0].offset < end:
                piece = left.popleft()
                yield from _zeros(piece.offset - at)
                yield memoryview(reader.read(piece, stream))
                at = piece.offset + piece.length
            yield from _zeros(end - at)


def _zeros(count: int) -> Iterator[memoryview]:
    while count > 0:
        yield _ZEROS[:count]
        count -= len(_ZEROS)
