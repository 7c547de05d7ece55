"""What a restore in place will change, decided before anything is touched. Pure.

It is told what differs between the tree as it is (a mark that was just set) and the tree as it is to be. Paths, not
inodes, are what is brought back: a file that was exchanged for another is put in the other's place, so that no further
name of either is written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.model.events import DIRECTORY, FILE, Inode


@dataclass(frozen=True, slots=True)
class Turn:
    """One path: `left` is what is there now, `right` what is to be there; None for nothing. `content` says that bytes
    differ between two that are one file."""

    path: bytes
    left: Inode | None
    right: Inode | None
    content: bool = False


@dataclass(frozen=True, slots=True)
class InPlacePlan:
    """Every path in one part at most, each part by path.

    `cleared` are directories, and what is in them, that have to go first since something else takes their place;
    `removed` goes at the end. `made` are paths to make anew, in the place of what may be there, `linked` further names
    (with the name that leads to the inode), `rewritten` files of which ranges are written where they are, `changed`
    paths of which attributes alone differ. `settled` are directories that get their times back.
    """

    cleared: tuple[Turn, ...]
    removed: tuple[Turn, ...]
    made: tuple[Turn, ...]
    linked: tuple[tuple[Turn, bytes], ...]
    rewritten: tuple[Turn, ...]
    changed: tuple[Turn, ...]
    settled: tuple[tuple[bytes, Inode], ...]

    @property
    def nothing(self) -> bool:
        return not any((self.cleared, self.removed, self.made, self.linked, self.rewritten, self.changed))


def plan_in_place(
    turns: Iterable[Turn], names: Mapping[int, tuple[bytes, ...]], directories: Mapping[bytes, Inode], exact: bool
) -> InPlacePlan:
    """`names` are all names that each inode with several of them is to have; `directories` the tree's that is to be.

    Without `exact` what did not exist then stays, unless something else that did is to be in its place.
    """
    cleared, removed, made, rewritten, changed = [], [], [], [], []
    linked: list[tuple[Turn, bytes]] = []
    turned = {turn.path: turn for turn in turns}
    new = {path for path, turn in turned.items() if _is_new(turn)}
    for path, turn in sorted(turned.items()):
        if turn.right is None:
            # What stands in a directory that becomes something else goes with it, whatever was asked for.
            if _inside_another(path, turned):
                cleared.append(turn)
            elif exact:
                removed.append(turn)
        elif path in new:
            if turn.left is not None and DIRECTORY in (turn.left.type, turn.right.type):
                cleared.append(turn)
            others = [name for name in names.get(turn.right.file_id, ()) if name not in new or name < path]
            if others and turn.right.type != DIRECTORY:
                linked.append((turn, min(others, key=lambda name: (name in new, name))))
            else:
                made.append(turn)
        elif turn.content and turn.right.type == FILE:
            rewritten.append(turn)
        else:
            changed.append(turn)
    touched = {_parent(turn.path) for turn in (*cleared, *removed, *made)} | {_parent(turn.path) for turn, _ in linked}
    touched |= {turn.path for turn in made if turn.right is not None and turn.right.type == DIRECTORY}
    settled = tuple((path, directories[path]) for path in sorted(touched) if path in directories)
    parts = (tuple(cleared), tuple(removed), tuple(made), tuple(linked), tuple(rewritten), tuple(changed))
    return InPlacePlan(*parts, settled)


def _is_new(turn: Turn) -> bool:
    """Whether the path gets an inode other than the one that is there."""
    if turn.right is None:
        return False
    if turn.left is None or turn.left.type != turn.right.type:
        return True
    if turn.left.type == DIRECTORY:
        return False  # one directory is as good as another; what is in it is brought back by itself
    return turn.left.file_id != turn.right.file_id or turn.left.target != turn.right.target


def _inside_another(path: bytes, turned: Mapping[bytes, Turn]) -> bool:
    """Whether a directory above becomes something else."""
    above = _parent(path)
    while above not in (b"", b"/"):
        turn = turned.get(above)
        if turn is not None and turn.right is not None and turn.right.type != DIRECTORY:
            return True
        above = _parent(above)
    return False


def _parent(path: bytes) -> bytes:
    return path.rsplit(b"/", 1)[0] or b"/"
