"""Which trace events say where a file system's files were written, and what each means.

An event serves when it is complete with its kind's others: a file system whose writes can't all be traced on this
kernel isn't traced at all. Names and fields differ between kernels: of several alternatives the first that exists is
used. Sources: include/trace/events/{ext4,writeback}.h, fs/xfs/xfs_trace.h, fs/iomap/trace.h.

ext4 is traced where a write ends (its bytes have been copied), xfs where it begins: there it holds the inode's lock,
and a reader waits for it. Not so direct writes, and what fallocate(2) does on ext4: these are traced before they
happen. A collapse, an insert, and on xfs a punched or zeroed range, are the whole file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.agent.ranges.tracefs import Field, Format

WRITTEN = "written"
"""dev, ino, offset, length: the bytes are there, or whoever reads will wait for them."""

BEGUN = "begun"
"""The same, but the bytes come later."""

DIRECT = "direct"
"""The same for a direct write, which ends with a COMPLETED. iomap_iter says 0 bytes where it can't know the length,
which is at offset 0, and where there is nothing left; iomap_dio_rw_begin knows, but tells reads too."""

COMPLETED = "completed"
"""dev, ino, offset after it, bytes or -errno: a direct read or write is over."""

REMAPPED = "remapped"
"""dev, length (0: to the end), ino, offset: blocks of another file are shared into this one."""

CUT = "cut"
"""dev, ino, new size."""

TRUNCATING, REMOVING, TRUNCATED = "truncating", "removing", "truncated"
"""dev, ino (and the first block removed): ext4's way of cutting."""

ALL, ALL_BEGUN = "all", "all begun"
"""dev, ino: anything in the file may differ, or will in a moment."""

FAULTED = "faulted"
"""dev, ino: a page of the file was made writable for a mapping."""

TOUCHED = "touched"
"""ino, dev: a process touched a page of a mapping of the file for the first time. Every program that starts does so in
its libraries: on a busy file system there are more of these than of all others."""

DIRTIED = "dirtied"
"""name of the backing device, ino, index: a clean folio became dirty, by a write or by a store through a mapping."""


OF_FILLS = frozenset({WRITTEN, FAULTED, DIRTIED})
"""What a fill does to bring bytes, touches besides. A filler cuts and punches too, to take back what it wrote into a
file that was emptied meanwhile: that has to be looked at."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of `events` (alternatives, the better first), with these fields, means this."""

    meaning: str
    events: tuple[str, ...]
    fields: tuple[str, ...]
    only: str = ""
    """A condition on records beside the device's."""

    needed: bool = True
    """Whether nothing of its file system can be traced without it."""


_PLACE = ("dev", "ino")
_LEN = (*_PLACE, "pos", "len")
_OFFSET = (*_PLACE, "offset", "count")
_DIRTIED = Kind(
    DIRTIED, ("writeback/writeback_dirty_folio", "writeback/writeback_dirty_page"), ("name", "ino", "index")
)
WHO = "common_pid"
"""The field of every record that tells the thread."""

TOUCHED_FIELDS = ("i_ino", "s_dev")
_TOUCHED = (
    Kind(TOUCHED, ("filemap/mm_filemap_fault",), TOUCHED_FIELDS),
    Kind(TOUCHED, ("filemap/mm_filemap_map_pages",), TOUCHED_FIELDS),
)
_COMPLETED = Kind(COMPLETED, ("iomap/iomap_dio_complete",), (*_PLACE, "pos", "ret"), needed=False)

KINDS: dict[str, tuple[Kind, ...]] = {
    "ext4": (
        Kind(WRITTEN, ("ext4/ext4_da_write_end",), _LEN),
        Kind(WRITTEN, ("ext4/ext4_write_end",), _LEN),
        Kind(WRITTEN, ("ext4/ext4_journalled_write_end",), _LEN),
        Kind(DIRECT, ("iomap/iomap_iter", "iomap/iomap_apply"), (*_PLACE, "pos", "length"), "flags & 1"),
        Kind(DIRECT, ("iomap/iomap_dio_rw_begin",), (*_PLACE, "pos", "count"), "pos == 0", needed=False),
        _COMPLETED,
        Kind(ALL, ("ext4/ext4_free_inode",), _PLACE),
        Kind(TRUNCATING, ("ext4/ext4_truncate_enter",), _PLACE),
        Kind(REMOVING, ("ext4/ext4_ext_remove_space",), (*_PLACE, "start"), needed=False),
        Kind(TRUNCATED, ("ext4/ext4_truncate_exit",), _PLACE),
        Kind(BEGUN, ("ext4/ext4_punch_hole",), (*_PLACE, "offset", "len")),
        Kind(BEGUN, ("ext4/ext4_zero_range",), (*_PLACE, "offset", "len")),
        Kind(ALL_BEGUN, ("ext4/ext4_collapse_range",), _PLACE),
        Kind(ALL_BEGUN, ("ext4/ext4_insert_range",), _PLACE),
        *_TOUCHED,
        _DIRTIED,
    ),
    "xfs": (
        Kind(WRITTEN, ("xfs/xfs_file_buffered_write",), _OFFSET),
        Kind(DIRECT, ("xfs/xfs_file_direct_write",), _OFFSET),
        _COMPLETED,
        Kind(CUT, ("xfs/xfs_itruncate_extents_start",), (*_PLACE, "new_size")),
        Kind(ALL, ("xfs/xfs_free_file_space",), _PLACE),
        Kind(ALL, ("xfs/xfs_zero_file_space",), _PLACE, needed=False),
        Kind(ALL, ("xfs/xfs_collapse_file_space",), _PLACE),
        Kind(ALL, ("xfs/xfs_insert_file_space",), _PLACE),
        Kind(REMAPPED, ("xfs/xfs_reflink_remap_range",), ("dev", "len", "dest_ino", "dest_offset")),
        Kind(ALL, ("xfs/xfs_exchrange_before",), _PLACE, needed=False),
        Kind(ALL, ("xfs/xfs_swap_extent_before",), _PLACE, needed=False),
        Kind(FAULTED, ("xfs/xfs_write_fault", "xfs/xfs_filemap_fault"), _PLACE, needed=False),
        _DIRTIED,
    ),
}


def unpacking(format: Format, fields: tuple[str, ...]) -> str | None:
    """The struct format of (pid, *fields) from a record's begin; None when it hasn't got those fields.

    Fields come in the order of their places, so `fields` must be named in it. ValueError when they are not.
    """
    return _code([format.fields.get(WHO), *map(format.fields.get, fields)], 0)


def apart(format: Format, fields: tuple[str, ...]) -> tuple[slice, str] | None:
    """(the part of a record that holds these fields, the struct format of that); as `unpacking` otherwise."""
    wanted = [*map(format.fields.get, fields)]
    first, last = wanted[0], wanted[-1]
    if first is None or last is None or (code := _code(wanted, first.at)) is None:
        return None
    return slice(first.at, last.at + last.bytes), code


def _code(wanted: Sequence[Field | None], at: int) -> str | None:
    """The struct format of fields from the byte `at` of a record on."""
    code = "="
    for field in wanted:
        if field is None:
            return None
        if field.at < at:
            raise ValueError(f"fields are not in the order of the record: {wanted}")
        letter = f"{field.bytes}s" if field.text else "bhiq"["1248".index(str(field.bytes))]
        code += f"{field.at - at}x" + (letter if field.signed or field.text else letter.upper())
        at = field.at + field.bytes
    return code
