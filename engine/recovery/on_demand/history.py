"""Whose history a tree on demand touches: sources of this machine that look where it is made, and its own above all.

At its own place a source's history goes on from the point recovered, in an epoch of its own: the tree as it was then is
what its agent knows from the first moment, and only what differs from it is captured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from engine.fill.kept.names import Name
from engine.journal import control
from engine.journal.open import Journal
from engine.query.session import Session
from engine.query.tree import as_entries, tree_table
from engine.recovery.restoring import Prepared


@dataclass(frozen=True, slots=True)
class Touched:
    """The streams of sources that look at or below the target, or above it; `own` says that it is where the very source
    that is recovered lives, all of it."""

    streams: tuple[str, ...]
    own: bool


def touched(journal: Journal, prepared: Prepared, target: bytes, host: str) -> Touched:
    """By the policies applied last; `host` is what they call this machine."""
    applied = control.latest(journal.store, control.POLICIES) or {}
    real, streams, own = os.path.realpath(target), [], False
    for address, source in applied.get("sources", {}).items():
        if address.split("/")[1] != host:
            continue
        paths = [os.fsencode(path) for path in source.get("paths", ())]
        if not any(_meet(os.path.realpath(path), real) for path in paths):
            continue
        streams.append(source["stream"])
        mine = source["stream"] == prepared.stream.id and paths == [prepared.base]
        own |= mine and os.path.realpath(paths[0]) == real
    return Touched(tuple(sorted(streams)), own)


def names_then(session: Session, prepared: Prepared) -> Iterator[Name]:
    """Every name of the source at the point, parents first."""
    table = tree_table(session, prepared.stream.id, prepared.point.position, b"/")
    for entry in sorted(as_entries(table), key=lambda entry: entry.path):
        inode = entry.inode
        yield Name(
            *(entry.path, inode.file_id, inode.type, inode.mode, inode.uid, inode.gid, inode.size, inode.mtime_ns),
            *(inode.rdev, inode.target, inode.xattrs),
        )


def _meet(one: bytes, other: bytes) -> bool:
    return one == other or one.startswith(other.rstrip(b"/") + b"/") or other.startswith(one.rstrip(b"/") + b"/")
