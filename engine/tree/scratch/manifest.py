"""What a tree held when it was checked: each name with its attributes and a hash of its bytes, to be compared later.

A first line with the format's number; then one line a name, JSON: [path, type, attributes, content, further name of,
mtime]. The times of directories are kept and not compared: who makes a file there and takes it away again has changed
nothing. Nor are holes: zeros are zeros.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from engine.env.durable import Growing
from engine.model.errors import Failed
from engine.model.events import DIRECTORY, FILE
from engine.tree.attributes import Attributes, read_attributes
from engine.tree.content import content_hash
from engine.tree.paths import shown
from engine.tree.walk import Entry, walk

_FORMAT = 2
"""Since then the hash of a file's bytes leaves out what is zeros."""

_THREADS = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One name. `attributes` and `content` are hashes, `link` the first name of an inode with several."""

    type: str
    attributes: str
    content: str
    link: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Held:
    """A tree as it is: rows by path, relative to it as os.fsdecode gives them, `.` for itself; `marks` are (inode
    number, ctime), which tell at a glance whether it is still so."""

    rows: Mapping[str, Row]
    marks: Mapping[str, tuple[int, int]]


def take(root: bytes, threads: int = _THREADS) -> Held:
    """Read all of a tree. Failed for what can't be read: unread is not equal."""
    entries = _entries(root)
    first: dict[tuple[int, int], str] = {}
    links = [first.setdefault(entry.inode, name) for name, entry in entries.items()]
    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(_row, entries.values()))
    return Held(
        {
            name: replace(row, link="" if link == name else link)
            for (name, row), link in zip(zip(entries, rows, strict=True), links, strict=True)
        },
        _marks(entries),
    )


def marks(root: bytes) -> dict[str, tuple[int, int]]:
    """Only a glance: what tells whether anything was changed since `take`."""
    return _marks(_entries(root))


def write(file: Path, held: Held) -> None:
    """Keep it, durably."""
    file.unlink(missing_ok=True)
    with Growing(file.parent) as out:
        out.write(b"%d\n" % _FORMAT)
        for name, row in held.rows.items():
            fields = [name, row.type, row.attributes, row.content, row.link, row.mtime_ns]
            out.write(json.dumps(fields).encode() + b"\n")
        out.publish(file.name)


def read(file: Path) -> dict[str, Row]:
    """The rows that were kept. Failed when nobody can read them."""
    try:
        with file.open("rb") as lines:
            if lines.readline() != b"%d\n" % _FORMAT:
                raise ValueError("another version of this program wrote it")
            return {name: Row(*fields) for name, *fields in map(json.loads, lines)}
    except (OSError, ValueError, TypeError) as error:
        raise Failed(f"what was checked can't be read: {error}", hint="restore to scratch again") from None


def differing(before: Mapping[str, Row], now: Mapping[str, Row]) -> Iterator[tuple[str, str]]:
    """(path, what is different), by path."""
    for name in sorted(before.keys() | now.keys()):
        then, there = before.get(name), now.get(name)
        if then is None:
            yield name, "is new"
        elif there is None:
            yield name, "is gone"
        elif (then.type, then.content, then.link) != (there.type, there.content, there.link):
            yield name, "content"
        elif then.attributes != there.attributes:
            yield name, "attributes"


def put_times_back(root: bytes, before: Mapping[str, Row]) -> None:
    """Directories in which something came and went get their times back."""
    for name, row in before.items():
        if row.type == DIRECTORY:
            path = os.path.join(root, os.fsencode(name))
            os.utime(path, ns=(row.mtime_ns, row.mtime_ns), follow_symlinks=False)


def _entries(root: bytes) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for item in walk(root):
        if not isinstance(item, Entry):
            raise Failed(f"{shown(item.path)} can't be read: {os.strerror(item.errno)}", hint="is it being changed?")
        found[os.fsdecode(os.path.relpath(item.path, root))] = item
    return found


def _marks(entries: Mapping[str, Entry]) -> dict[str, tuple[int, int]]:
    # The root's own change when it is renamed.
    return {name: (entry.stat.st_ino, entry.stat.st_ctime_ns) for name, entry in entries.items() if name != "."}


def _row(entry: Entry) -> Row:
    attributes = read_attributes(entry.path, entry.stat)
    content = _content(entry.path) if entry.type == FILE else ""
    return Row(entry.type, _hash(attributes), content, "", attributes.mtime_ns)


def _hash(attributes: Attributes) -> str:
    plain = replace(attributes, mtime_ns=0) if attributes.type == DIRECTORY else attributes
    text = repr([getattr(plain, name) for name in Attributes.__slots__])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _content(path: bytes) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Failed(f"{shown(path)} can't be read: {os.strerror(error.errno or 0)}") from None
    try:
        return content_hash(fd)
    finally:
        os.close(fd)
