"""What a row of the matrix is: a kind of change, told once, for tests and docs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = ("ext4", "xfs", "btrfs", "btrfs subvolumes", "tmpfs", "overlayfs", "ext4 by inotify")
"""What is protected: a directory on each; the fourth lies in a subvolume that is mounted with subvol=@, the layers of
overlayfs are on ext4, and in the last the agent may use nothing better than inotify."""

TRACED = frozenset({"ext4", "xfs"})
"""Where the best of everything is to be had: of the others `costs` say what is worse there."""

WEAKER = {"overlayfs": "fanotify-directories", "ext4 by inotify": "inotify"}
"""What these are watched with; all others by one mark on the file system."""

THEMES = ("Content", "Where it is written from", "Names", "Links", "Attributes", "Special files", "Subvolumes")

Steps = Callable[["Place"], Iterator[None]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row works. `here` is its own directory in the protected source, `outside` one beside the source on the
    same file system, `bound` is `here` through a bind mount. `device` is the block device, empty for tmpfs."""

    column: str
    here: Path
    outside: Path
    bound: Path
    device: str

    def file(self, name: str, content: bytes = b"before") -> Path:
        path = self.here / name
        path.write_bytes(content)
        return path

    def directory(self, name: str, *files: str) -> Path:
        path = self.here / name
        path.mkdir()
        for each in files:
            (path / each).write_bytes(each.encode())
        return path


@dataclass(frozen=True, slots=True)
class Row:
    """`steps` makes what is there before, yields, makes the change, and may yield again before it clears up.

    `impossible` says, for columns that can't do it at all, why; the attempt must fail there. `loses` are those facts
    of the walker that are not kept, by design, and why; exactly those must differ; `either` those that may. `late`
    says, for columns where a change is not seen at once but within seconds all the same, why; `unseen`, for columns
    where it is missed and the mechanism's `costs` tell so, why. A `large` row is left out of the WEAKER columns.
    """

    theme: str
    name: str
    steps: Steps
    impossible: Mapping[str, str] = field(default_factory=dict)
    loses: Mapping[str, str] = field(default_factory=dict)
    either: Mapping[str, str] = field(default_factory=dict)
    late: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    large: bool = False

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


ROWS: list[Row] = []


def row(
    theme: str,
    name: str,
    *,
    impossible: Mapping[str, str] | None = None,
    loses: Mapping[str, str] | None = None,
    either: Mapping[str, str] | None = None,
    late: Mapping[str, str] | None = None,
    unseen: Mapping[str, str] | None = None,
    large: bool = False,
) -> Callable[[Steps], Steps]:
    """Add what it decorates to the matrix."""

    def add(steps: Steps) -> Steps:
        given = _by_column(impossible), loses or {}, either or {}, _by_column(late), unseen or {}, large
        made = Row(theme, name, steps, *given)
        assert theme in THEMES and made.slug not in {each.slug for each in ROWS}, name
        ROWS.append(made)
        return steps

    return add


def _by_column(given: Mapping[str, str] | None) -> dict[str, str]:
    """`btrfs` stands for it with and without subvolumes."""
    return {column: why for name, why in (given or {}).items() for column in COLUMNS if column.split()[0] == name}


def pwrite(path: Path, data: bytes, offset: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, data, offset)
    finally:
        os.close(fd)
