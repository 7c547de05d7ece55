"""What differs between a tree as it was and the disk as it is: names, sizes, attributes, contents.

Directories count by what is in them: their own times follow that. What can't be read on the disk is said, and is never
taken for equal. A file that has another name now is found by its time and content.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from engine.model.errors import BcsError, NothingThere
from engine.model.events import DIRECTORY, FILE, SYMLINK, Inode
from engine.query.diff import ADDED, CHANGED, REMOVED, RENAMED, Change
from engine.recovery.on_disk.places import Place
from engine.tree.attributes import Attributes, CannotRead, from_inode, read_attributes
from engine.tree.walk import Entry, Unreadable, walk

Same = Callable[[bytes, Inode, bytes], bool]
"""same(path in the tree, inode as it was, path on the disk): whether a file of the same size has the same bytes.
Raises OSError when the disk's can't be read, Damaged when the journal's can't."""

Progress = Callable[[int], None]
"""Called with the bytes compared since the last call."""

EVERYTHING = ("type", "mode", "uid", "gid", "rdev", "target", "xattrs")


@dataclass(slots=True)
class Differences:
    """`changes` by path, from then to now; `unreadable` are paths of the tree and why the disk would not show them."""

    changes: list[Change] = field(default_factory=list)
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _There:
    """What the disk has at a path of the tree."""

    disk: bytes
    inode: Inode


def differences(
    entries: Iterable[tuple[bytes, Inode]],
    places: Sequence[Place],
    same: Same,
    *,
    quick: bool = False,
    attributes: Sequence[str] = EVERYTHING,
    progress: Progress = lambda count: None,
) -> Differences:
    """Compare `entries` (path, inode) of the places as they were with what is there now.

    `quick` takes files of the same size and time for equal; `attributes` are those that count. NothingThere when
    nothing was there, and nothing is.
    """
    found = Differences()
    then = dict(entries)
    now = {path: there for place in places for path, there in _look(place, found)}
    if not then and not now and not found.unreadable:
        shown = ", ".join(os.fsdecode(place.tree) for place in places)
        raise NothingThere(f"there is no {shown}, neither then nor now", hint="`bcsctl search` finds names")
    hidden = {path for path, _ in found.unreadable}
    changes: list[Change] = []
    for path in sorted({*then, *now}):
        old, there = then.get(path), now.get(path)
        if there is None:
            if old is not None and not _is_hidden(path, hidden):
                changes.append(Change(path, REMOVED, old, None))
        elif old is None:
            changes.append(Change(path, ADDED, None, there.inode))
        else:
            change = _changed(path, old, there, same, quick, attributes, progress, found)
            if change is not None:
                changes.append(change)
    found.changes = _with_renames(changes, now, same)
    found.unreadable.sort()
    return found


def _look(place: Place, found: Differences) -> Iterator[tuple[bytes, _There]]:
    def left_out(path: bytes, is_directory: bool) -> bool:
        return place.excluded(place.tree_path(path), is_directory)

    for item in walk(place.disk, left_out):
        path = place.tree_path(item.path)
        if isinstance(item, Unreadable):
            if not item.vanished:
                found.unreadable.append((path, os.strerror(item.errno)))
            continue
        try:
            yield path, _There(item.path, _inode(item))
        except CannotRead as error:
            if not error.vanished:
                found.unreadable.append((path, os.strerror(error.errno)))


def _inode(entry: Entry) -> Inode:
    """What is on the disk in the form of an event; its number on the disk stands for the file_id."""
    found: Attributes = read_attributes(entry.path, entry.stat)
    return Inode(
        *(0, 0, entry.stat.st_ino, found.type, found.mode, found.uid, found.gid, found.size, found.mtime_ns),
        *(found.rdev, found.target, found.xattrs),
    )


def _changed(
    path: bytes,
    old: Inode,
    there: _There,
    same: Same,
    quick: bool,
    attributes: Sequence[str],
    progress: Progress,
    found: Differences,
) -> Change | None:
    new = there.inode
    wanted, has = from_inode(old), from_inode(new)
    names = [name for name in attributes if name != "mode" or old.type != SYMLINK]  # a link's mode means nothing
    other = any(getattr(wanted, name) != getattr(has, name) for name in names)
    other |= old.mtime_ns != new.mtime_ns and DIRECTORY not in (old.type, new.type)
    content = False
    if old.type == new.type == FILE:
        content = old.size != new.size
        if not content and not (quick and old.mtime_ns == new.mtime_ns):
            try:
                content = not same(path, old, there.disk)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    found.unreadable.append((path, os.strerror(error.errno or errno.EIO)))
                    return None
                return Change(path, REMOVED, old, None)
            progress(new.size)
    return Change(path, CHANGED, old, new, content, other) if content or other else None


def _is_hidden(path: bytes, hidden: set[bytes]) -> bool:
    """Whether a path, or a directory above it, could not be looked at: it need not be gone."""
    while path not in hidden:
        above = path.rsplit(b"/", 1)[0]
        if not above or above == path:
            return False
        path = above
    return True


def _with_renames(changes: list[Change], now: dict[bytes, _There], same: Same) -> list[Change]:
    """A file that has gone and one that came, of one size and time and with the same bytes, are one; and so are the
    directories that changed their names with it."""
    gone: dict[tuple[int, int], list[Change]] = {}
    for change in changes:
        if change.kind == REMOVED and change.left is not None and change.left.type == FILE:
            gone.setdefault((change.left.size, change.left.mtime_ns), []).append(change)
    old_of: dict[bytes, bytes] = {}
    taken: set[bytes] = set()
    for change in changes:
        if change.kind != ADDED or change.right is None or change.right.type != FILE:
            continue
        for candidate in gone.get((change.right.size, change.right.mtime_ns), ()):
            if candidate.path not in taken and _is_same(candidate, now[change.path].disk, same):
                old_of[change.path] = candidate.path
                taken.add(candidate.path)
                break
    old_of |= _moved_directories(old_of, changes)
    by_path = {(change.kind, change.path): change for change in changes}
    moved = set(old_of.values())
    found: list[Change] = []
    for change in changes:
        if change.kind == ADDED and change.path in old_of:
            old_path = old_of[change.path]
            found.append(replace(change, kind=RENAMED, left=by_path[REMOVED, old_path].left, old_path=old_path))
        elif not (change.kind == REMOVED and change.path in moved):
            found.append(change)
    return found


def _is_same(gone: Change, disk: bytes, same: Same) -> bool:
    assert gone.left is not None
    try:
        return same(gone.path, gone.left, disk)
    except (OSError, BcsError):
        return False


def _moved_directories(old_of: dict[bytes, bytes], changes: Iterable[Change]) -> dict[bytes, bytes]:
    """{new: old} of directories above renamed files, as long as both names end alike or both are new and gone."""
    ends: dict[str, set[bytes]] = {ADDED: set(), REMOVED: set()}
    for change in changes:
        inode = change.right if change.kind == ADDED else change.left if change.kind == REMOVED else None
        if inode is not None and inode.type == DIRECTORY:
            ends[change.kind].add(change.path)
    found: dict[bytes, bytes] = {}
    taken: set[bytes] = set()
    for new, old in sorted(old_of.items()):
        while os.path.basename(new) == os.path.basename(old):
            new, old = os.path.dirname(new), os.path.dirname(old)
            if new not in ends[ADDED] or old not in ends[REMOVED] or new in found or old in taken:
                break
            found[new] = old
            taken.add(old)
    return found
