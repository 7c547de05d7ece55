"""Apply the batches of a restored tree below a directory: make, fill, link, finish.

Everything may be done twice: a batch that was half applied when we ended is applied again, over what is there. Each
extent's bytes are compared with their hash before they are written; a file of which anything is wrong is taken away.
"""

from __future__ import annotations

import base64
import errno
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from engine.agent.restore.landing import Landing
from engine.model.errors import BcsError
from engine.model.events import DIRECTORY, FILE, ROOT_ID
from engine.tree.apply import CannotMake, Shortfall, create_file, finish, link, make, set_size, write_extent
from engine.tree.attributes import Attributes
from engine.tree.paths import shown
from engine.wire.batch import HASH_BYTES, Batch
from engine.wire.errors import Malformed
from engine.wire.frames import open_frame

SHARE_BYTES = 1 << 20
"""A file's extents are written in shares of about this size, side by side."""
JOBS_AT_ONCE = 8
"""So many are done by one thread before it takes more."""

MADE_UP = 1 << 60
"""From here on are file_ids of directories that nobody described: they only lead to others, and are never finished."""

LISTED = "listed"
"""What a listing of files is called where batches have a step."""
_EXISTING = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_TABLES = {
    "made": {"dentry"},
    "files": {"dentry", "inode", "extent", "record"},
    "others": {"dentry", "inode"},
    "finished": {"inode"},
    LISTED: {"dentry", "inode", "record"},
}


@dataclass(slots=True)
class Done:
    """What was restored so far. `failures` are names that are not there: path and why. `failed` are the file_ids among
    them: of those nothing more is written. `damaged` says that of some the journal was the cause."""

    files: int = 0
    names: int = 0
    bytes_written: int = 0
    failures: list[tuple[bytes, str]] = field(default_factory=list)
    shortfalls: list[str] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)
    damaged: bool = False
    attributes_set: bool = False


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of a file in one batch. `frame` -1: only the hash is here."""

    offset: int
    length: int
    frame: int
    skip: int
    hash: bytes


@dataclass(slots=True)
class Node:
    """What one batch says of an inode: its names, in bytes below the target; all attributes, if it is to be finished;
    extents in order of offset; why it is damaged."""

    file_id: int
    names: list[bytes] = field(default_factory=list)
    attributes: Attributes | None = None
    extents: list[Extent] = field(default_factory=list)
    damage: str = ""


class Receiver:
    """Applies batches in order, with `threads` side by side. `owners`: whether files are given their owners."""

    def __init__(self, landing: Landing, done: Done, owners: bool, threads: int = 2) -> None:
        self.done = done
        self.left_out: frozenset[int] = frozenset()
        """The file_ids of what is not to be made: it is there already."""
        self._landing = landing
        self._owners = owners
        self._pool = ThreadPoolExecutor(threads, "restore")
        self._usual_mode = 0o777 & ~_umask()
        self.directories: dict[int, bytes] = {ROOT_ID: landing.held}

    def close(self) -> None:
        self._pool.shutdown()

    def apply(self, step: str, batch: Batch, *, again: bool = False) -> None:
        """Apply one batch of a step. `again`: it was applied whole before, and is only to be known again.

        Malformed when it says what no node of ours would; Failed, OSError when nothing at all can be written.
        """
        nodes = read_nodes(step, batch, self.directories)
        if step == "made":
            for node in nodes.values():
                self._directory(node, again)
        elif step == "files":
            self._files(list(nodes.values()), batch)
        elif step == "others":
            for node in nodes.values():
                if node.file_id not in self.left_out:
                    self._other(node)
        else:
            for node in nodes.values():
                self._finish_directory(node)

    def _directory(self, node: Node, again: bool) -> None:
        path = node.names[0]
        try:
            make(path, Attributes(DIRECTORY, 0o700, 0, 0, 0, 0))
        except CannotMake as error:
            if error.errno != errno.EEXIST or os.path.islink(path) or not os.path.isdir(path):
                raise
        if node.file_id >= MADE_UP and not again:
            os.chmod(path, self._usual_mode)
        self.directories[node.file_id] = path
        self.done.names += not again

    def _finish_directory(self, node: Node) -> None:
        if node.file_id == ROOT_ID:
            if not self._landing.before.made:
                return  # attributes are for a target that was not there before
            self.done.attributes_set = True
        assert node.attributes is not None
        path = self.directories.get(node.file_id)
        if path is None:
            raise Malformed(f"directory {node.file_id} is to be finished and was never made")
        if node.file_id == ROOT_ID:
            path += b"/."  # the held directory itself, not the link by which it is reached
        self._fell_short(finish(path, node.attributes, self._owners))

    def _other(self, node: Node) -> None:
        assert node.attributes is not None
        path = node.names[0]
        try:
            missing = make(path, node.attributes)
        except CannotMake as error:
            if error.errno != errno.EEXIST:
                raise
            os.unlink(path)  # half made, by ourselves: all of the target is ours
            missing = make(path, node.attributes)
        if missing is not None:
            self._fail(node, f"it can't be made here: {os.strerror(missing.errno)}")
            return
        self.done.names += 1
        self._fell_short(finish(path, node.attributes, self._owners))
        self._link(node)

    def _files(self, nodes: Sequence[Node], batch: Batch) -> None:
        opened = list(self._pool.map(open_frame, batch.frames))
        nodes = [node for node in nodes if node.file_id not in self.left_out]
        work = [node for node in nodes if node.file_id not in self.done.failed]
        for node in nodes:
            if node.damage and node.file_id not in self.done.failed:
                self.done.damaged = True
        jobs = [(node, share) for node in work for share in _shares(node)]
        wrong: dict[int, str] = {}
        for found in self._pool.map(
            lambda some: [(node, self._fill(node, share, opened)) for node, share in some],
            [jobs[at : at + JOBS_AT_ONCE] for at in range(0, len(jobs), JOBS_AT_ONCE)],
        ):
            for node, why in found:
                if why:
                    wrong.setdefault(node.file_id, why)
        for node in work:
            self._end(node, node.damage or wrong.get(node.file_id, ""))

    def _fill(self, node: Node, extents: Sequence[Extent], opened: Sequence[memoryview]) -> str:
        """Write extents of a file; why it failed, if it did."""
        if node.damage:
            return node.damage
        try:
            fd = _open(node.names[0])
        except (BcsError, OSError) as error:
            return _why(error)
        try:
            for extent in extents:
                part = opened[extent.frame][extent.skip : extent.skip + extent.length]
                if blake3(part).digest(HASH_BYTES) != extent.hash:
                    return f"the {extent.length} bytes at {extent.offset} do not match their hash"
                write_extent(fd, extent.offset, part)
            if node.attributes is not None and _is_one_share(node):
                self._fell_short(_finish_file(fd, node, self._owners))
        except OSError as error:
            return _why(error)
        finally:
            os.close(fd)
        return ""

    def _end(self, node: Node, why: str) -> None:
        if why:
            for name in node.names:
                _take_away(name)
            self._fail(node, why)
            return
        self.done.bytes_written += sum(extent.length for extent in node.extents)
        if node.attributes is None:
            return
        if not _is_one_share(node):
            fd = os.open(node.names[0], _EXISTING)
            try:
                self._fell_short(_finish_file(fd, node, self._owners))
            finally:
                os.close(fd)
        self.done.files += 1
        self.done.names += 1
        self._link(node)

    def _link(self, node: Node) -> None:
        for name in node.names[1:]:
            try:
                missing = link(node.names[0], name)
            except CannotMake as error:
                if error.errno != errno.EEXIST:
                    raise
                os.unlink(name)
                missing = link(node.names[0], name)
            if missing is None:
                self.done.names += 1
                continue
            what = f"a further name of {shown(self._landing.named(node.names[0]))}: {os.strerror(missing.errno)}"
            self.done.failures.append((self._landing.named(name), what))

    def _fail(self, node: Node, why: str) -> None:
        self.done.failed.add(node.file_id)
        first = self._landing.named(node.names[0])
        self.done.failures.append((first, why))
        for name in node.names[1:]:
            self.done.failures.append((self._landing.named(name), f"a further name of {shown(first)}"))

    def _fell_short(self, missing: Sequence[Shortfall]) -> None:
        for one in missing:
            self.done.shortfalls.append(str(Shortfall(self._landing.named(one.path), one.what, one.errno)))


def read_nodes(step: str, batch: Batch, directories: dict[int, bytes]) -> dict[int, Node]:
    """What a batch says, by file_id in the order of names. Malformed for a name that would lead elsewhere, and for
    anything that does not belong into a batch of this step."""
    if step not in _TABLES or not set(batch.tables) <= _TABLES[step]:
        raise Malformed(f"a batch of {sorted(batch.tables)} is none of the step '{step[:40]}'")
    nodes: dict[int, Node] = {}
    paths = dict(directories) if step == "made" else directories
    for parent, name, file_id in rows_of(batch, "dentry", "parent", "name", "file_id"):
        if name in (b"", b".", b"..") or b"/" in name or b"\0" in name or parent not in paths or file_id < 1:
            raise Malformed(f"the name {shown(name)} in {parent} would lead elsewhere")
        path = paths[parent] + b"/" + name
        nodes.setdefault(file_id, Node(file_id)).names.append(path)
        if step == "made":
            paths[file_id] = path
    columns = ("file_id", "type", "mode", "uid", "gid", "size", "mtime_ns", "rdev", "target", "xattrs")
    for file_id, letter, *rest in rows_of(batch, "inode", *columns):
        kind = chr(letter)
        node = nodes.setdefault(file_id, Node(file_id)) if step == "finished" else nodes.get(file_id)
        wanted = "files" if step == LISTED else step
        if node is None or wanted != {FILE: "files", DIRECTORY: "finished"}.get(kind, "others"):
            raise Malformed(f"the inode {file_id} of type {kind!r} does not belong into the step '{step}'")
        node.attributes = Attributes(kind, *rest)
    _read_extents(batch, nodes)
    return nodes


def _read_extents(batch: Batch, nodes: dict[int, Node]) -> None:
    hashes = b""
    for topic, payload in rows_of(batch, "record", "topic", "payload"):
        try:
            if topic == b"hashes":
                hashes = base64.b64decode(payload, validate=True)
            elif topic == b"failed":
                told = json.loads(payload)
                nodes[told["file_id"]].damage = str(told["message"])
        except (ValueError, KeyError, TypeError):
            raise Malformed(f"a record {shown(topic)} of a restore can't be read") from None
    rows = list(rows_of(batch, "extent", "file_id", "offset", "length", "frame", "skip"))
    if len(hashes) != HASH_BYTES * len(rows):
        raise Malformed(f"a batch has {len(hashes)} bytes of hashes for {len(rows)} extents")
    for index, (file_id, offset, length, frame, skip) in enumerate(rows):
        if file_id not in nodes:
            raise Malformed(f"an extent belongs to {file_id}, which has no name")
        digest = hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
        nodes[file_id].extents.append(Extent(offset, length, frame, skip, digest))


def rows_of(batch: Batch, table: str, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Some columns of a batch's table, row by row; none for a table that it has not."""
    found = batch.tables.get(table)
    return zip(*(found[name] for name in columns), strict=True) if found else iter(())


def _shares(node: Node) -> Iterator[Sequence[Extent]]:
    """The extents in runs that are written side by side; one empty run for a file without any."""
    if _is_one_share(node):
        yield node.extents
        return
    start = size = 0
    for index, extent in enumerate(node.extents):
        size += extent.length
        if size >= SHARE_BYTES or index + 1 == len(node.extents):
            yield node.extents[start : index + 1]
            start, size = index + 1, 0


def _is_one_share(node: Node) -> bool:
    return sum(extent.length for extent in node.extents) <= SHARE_BYTES


def _open(path: bytes) -> int:
    """A file to write to: new, or as an earlier batch or run of ours left it."""
    try:
        return create_file(path)
    except CannotMake as error:
        if error.errno != errno.EEXIST:
            raise
    try:
        return os.open(path, _EXISTING)
    except PermissionError:  # finished before we ended, and not writable for us
        if os.path.islink(path):
            raise
        os.chmod(path, 0o600)
        return os.open(path, _EXISTING)


def _finish_file(fd: int, node: Node, owners: bool) -> list[Shortfall]:
    assert node.attributes is not None
    set_size(fd, node.attributes.size)
    return finish(node.names[0], node.attributes, owners, fd)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _take_away(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _why(error: Exception) -> str:
    return error.message if isinstance(error, BcsError) else os.strerror(getattr(error, "errno", 0) or 0)
