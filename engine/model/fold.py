"""The fold: from events to the state of a tree. Plain and naive on purpose.

This is the oracle. Every fast path (SQL over Parquet, compaction, checkpoints, extent maps)
is tested to give the same answer for any history at any recovery point.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.model.events import DIRECTORY, ROOT_ID, Dentry, Event, Extent, Inode
from engine.model.extents import Piece, overlay


@dataclass(slots=True)
class State:
    """A stream's tree at one position: what each key's latest event says.

    `dentries` maps (parent, name) to a file_id, None when unlinked; `inodes` a file_id to its
    attributes; `extents` a file_id to all extents so far, in LSN order, not yet overlaid.
    """

    dentries: dict[tuple[int, bytes], int | None] = field(default_factory=dict)
    inodes: dict[int, Inode] = field(default_factory=dict)
    extents: dict[int, list[Extent]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """One path of a folded tree: its inode and, for a file, where its bytes are."""

    path: bytes
    inode: Inode
    pieces: tuple[Piece, ...]


def fold(events: Iterable[Event], lsn: int | None = None) -> State:
    """The state after all events with an LSN up to `lsn` (all of them without one).

    The events are of one lineage, in any order; an event that comes twice counts once.
    """
    state = State()
    seen: set[int] = set()
    for event in sorted(events, key=lambda e: e.lsn):
        if (lsn is not None and event.lsn > lsn) or event.lsn in seen:
            continue
        seen.add(event.lsn)
        if isinstance(event, Dentry):
            state.dentries[event.parent, event.name] = event.file_id
        elif isinstance(event, Inode):
            state.inodes[event.file_id] = event
        elif isinstance(event, Extent):
            state.extents.setdefault(event.file_id, []).append(event)
    return state


def tree(state: State) -> dict[bytes, Node]:
    """Every path that can be reached from the root, absolute, `/` among them once it has an inode.

    A name whose inode was never described is left out, and so is all below it.
    """
    children: dict[int, list[tuple[bytes, int]]] = {}
    for (parent, name), file_id in state.dentries.items():
        if file_id is not None:
            children.setdefault(parent, []).append((name, file_id))
    found: dict[bytes, Node] = {}
    if ROOT_ID in state.inodes:
        found[b"/"] = _node(state, b"/", ROOT_ID)
    waiting: list[tuple[bytes, int, frozenset[int]]] = [(b"", ROOT_ID, frozenset({ROOT_ID}))]
    while waiting:
        path, parent, above = waiting.pop()
        for name, file_id in children.get(parent, ()):
            inode = state.inodes.get(file_id)
            if inode is None:
                continue
            below = path + b"/" + name
            found[below] = _node(state, below, file_id)
            # `above` ends the walk should a damaged history hold a directory inside itself.
            if inode.type == DIRECTORY and file_id not in above:
                waiting.append((below, file_id, above | {file_id}))
    return found


def _node(state: State, path: bytes, file_id: int) -> Node:
    inode = state.inodes[file_id]
    return Node(path, inode, tuple(overlay(state.extents.get(file_id, ()), inode.size)))
