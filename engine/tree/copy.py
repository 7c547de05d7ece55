"""Copy a tree with all that is kept of it: to another file system, where a rename does not reach."""

from __future__ import annotations

import os

from engine.model.errors import Failed
from engine.model.events import DIRECTORY, FILE
from engine.tree.apply import Shortfall, create_file, deepest_first, finish, link, make, set_size, write_extent
from engine.tree.attributes import Attributes, read_attributes
from engine.tree.paths import shown
from engine.tree.sparse import data_ranges
from engine.tree.walk import Entry, walk

_STEP_BYTES = 8 << 20


def copy_tree(root: bytes, target: bytes, owners: bool) -> list[Shortfall]:
    """Make `target`, which is not there, the same as `root`: bytes, holes, attributes, links among its own names.

    Answers what could not be set. Raises OSError, CannotMake; Failed for what can't be read.
    """
    first: dict[tuple[int, int], bytes] = {}
    made: dict[bytes, Attributes] = {}
    missing: list[Shortfall] = []
    for item in walk(root):
        if not isinstance(item, Entry):
            raise Failed(f"{shown(item.path)} can't be read: {os.strerror(item.errno)}")
        where = target + item.path[len(root) :]
        if item.type != DIRECTORY and item.inode in first:
            fell_short = link(first[item.inode], where)
            missing += [fell_short] if fell_short else []
            continue
        first[item.inode] = where
        attributes = read_attributes(item.path, item.stat)
        if item.type == FILE:
            _copy_file(item.path, where, attributes.size)
        elif fell_short := make(where, attributes):
            missing.append(fell_short)
            continue
        made[where] = attributes
    for path in deepest_first(made):
        missing += finish(path, made[path], owners)
    return missing


def _copy_file(path: bytes, target: bytes, size: int) -> None:
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        out = create_file(target)
        try:
            for offset, length in data_ranges(source, size):
                while length > 0 and (part := os.pread(source, min(_STEP_BYTES, length), offset)):
                    write_extent(out, offset, part)
                    offset, length = offset + len(part), length - len(part)
            set_size(out, size)
        finally:
            os.close(out)
    finally:
        os.close(source)
