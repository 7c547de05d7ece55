"""The nouns of a tree that is filled on demand, and the protocols by which its parts meet.

A recovery has a state directory (`Place`); who fills is the `filler`, started and outlived by the `supervisor`, which
holds the descriptor that keeps readers waiting. Contents come from a `Supply`, readers and writers through a
`Mechanism`; between them stands `engine.fill.flow.filling`, the one way in which bytes come into a cold file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

BLOCK_BYTES = 8192
"""What the map knows of a file is known a block of so many bytes: as large as those that capture compares."""

DIGEST_BYTES = 16
COLD = bytes(DIGEST_BYTES)
WARM = b"\xff" * DIGEST_BYTES
"""A block's entry in the map: COLD; WARM, what is in it is not known; else the XXH3-128 (canonical, as
xxhash.xxh3_128_digest gives it) of what the fill brought: the block's bytes as far as the file went then."""

PREPARING, FILLING, FINISHING, ENDED, CANCELLED, FAILED = (
    "preparing",  # the tree is being made, nobody can reach it
    "filling",  # the tree can be used
    "finishing",  # everything is filled; the mechanism is being taken away
    "ended",
    "cancelled",
    "failed",  # it never came to be used
)
LIVING = (PREPARING, FILLING, FINISHING)

PRE_ACCESS, FUSE = "pre-access", "fuse"


@dataclass(frozen=True, slots=True)
class ColdFile:
    """A file whose bytes are to come. `number` counts them from 0; its blocks are those of the map from `first_block`.

    `path` is where it was made, below the tree's root, and further names it may have; it may be renamed at any time,
    while (`dev`, `ino`) and `handle` (as engine.fill.tree.handles gives it; empty where there is none) stay.
    `file_id` is the journal's; `size`, `mtime_ns` and `xattrs` are those of the moment.
    """

    number: int
    file_id: int
    dev: int
    ino: int
    size: int
    mtime_ns: int
    first_block: int
    path: bytes
    handle: bytes = b""
    xattrs: bytes = b""

    @property
    def blocks(self) -> int:
        return -(-self.size // BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recovery is, as recipe.json has it; written before anything of the tree is made, never changed.

    `dir` is where the tree appears, `hidden` where it is made, both absolute and on one file system, as os.fsdecode
    gives them; `made_dir` that `dir` was not there before. `supply` says how contents are had: the module that is run
    as the filler, and what that needs (never a key). `lasting` says that it can go on after a power cut: the file
    system tells then which blocks had been filled. Times in microseconds; `boot` is the kernel's boot id then. `order`
    is the same for trees that were asked for together, empty for one alone.
    """

    id: str
    address: str
    stream: str
    position: str
    point_at: int
    point_class: str
    base: str
    dir: str
    hidden: str
    made_dir: bool
    lasting: bool
    mechanism: str
    by: str
    begun_at: int
    boot: str
    files: int
    bytes: int
    rate_bytes: int
    away_seconds: float
    module: str
    supply: dict[str, Any]
    order: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """The state directory of a recovery, BCS_HOME/recoveries/<id>/, and what is in it."""

    path: Path

    @property
    def recipe(self) -> Path:
        """See Recipe."""
        return self.path / "recipe.json"

    @property
    def state(self) -> Path:
        """{"state", "boot", "at", "error"?}; replaced durably. `boot` is that in which the map is true."""
        return self.path / "state.json"

    @property
    def wanted(self) -> Path:
        """{"paused", "rate_bytes", "finish", "cancel"}: what the user asked for; replaced durably, looked at often."""
        return self.path / "wanted.json"

    @property
    def progress(self) -> Path:
        """{"bytes_filled", "bytes_total", "rate_bytes", "files_left", "damaged", "holds"}: replaced every second."""
        return self.path / "progress.json"

    @property
    def files(self) -> Path:
        """The table of cold files: engine.fill.kept.table."""
        return self.path / "files"

    @property
    def names(self) -> Path:
        """At the source's own place: all its names and inodes then, for capture. See engine.fill.kept.names."""
        return self.path / "names"

    @property
    def map(self) -> Path:
        """Sparse, mapped shared by who fills: DIGEST_BYTES for each block of each cold file, see COLD."""
        return self.path / "map"

    @property
    def sizes(self) -> Path:
        """(number, smallest size seen) of files that were cut, one after the other; durable: engine.fill.kept.sizes."""
        return self.path / "sizes"

    @property
    def times(self) -> Path:
        """Which files bear a fill's time just now instead of their own: engine.fill.kept.times."""
        return self.path / "times"

    @property
    def holes(self) -> Path:
        """{file_id: bytes} of holes that have room, and are cold, until the rest of their file is filled."""
        return self.path / "holes.json"

    @property
    def mixed(self) -> Path:
        """Blocks of which a power cut left a part: engine.fill.kept.rebuild."""
        return self.path / "mixed.json"

    @property
    def unguarded(self) -> Path:
        """Paths of files that were written to while nobody guarded the tree, a line each; durable."""
        return self.path / "unguarded"

    @property
    def mechanism(self) -> Path:
        """A directory of the mechanism's own, made with the place."""
        return self.path / "mechanism"

    @property
    def supply(self) -> Path:
        """A directory of the supply's own, made with the place."""
        return self.path / "supply"

    @property
    def log(self) -> Path:
        return self.path / "log"

    def pid(self, role: str) -> Path:
        """The pid file of `supervisor` or `filler`."""
        return self.path / f"{role}.pid"


class Away(Exception):
    """A supply can't be reached now; asked again later it may answer."""


class Supply(Protocol):
    """Where contents come from. Safe for several threads; may be slow, answers nothing but what was protected."""

    def read(self, file: ColdFile, offset: int, length: int) -> Sequence[tuple[int, bytes | bytearray | memoryview]]:
        """The data in [offset, offset+length) of a file, in order, as (offset, bytes); what is left out is a hole.

        Every byte was compared with its hash. Raises Away, or engine.model.errors.Damaged.
        """

    def heat(self) -> dict[int, tuple[int, int]]:
        """How often a file was changed, and when last (µs), by file_id: which are wanted first. May raise Away."""

    def close(self) -> None: ...


class Fills(Protocol):
    """What a mechanism asks: engine.fill.flow.filling.Filling. All of it is safe for several threads."""

    cutters: set[int]
    """Threads of ours that cut files: nothing stops them."""

    def number_of(self, dev: int, ino: int) -> int | None:
        """None for a file that is none of this recovery's, or is whole."""

    def ready(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> bool:
        """Whether `ensure` would return at once: all of the range is warm, the file no smaller than it ever was seen,
        and no fill is writing to it. Never waits."""

    def ensure(self, number: int, offset: int, length: int, size_now: int, reading: bool = False) -> None:
        """Return when [offset, offset+length) is as it was then, or as it was written since; `length` 0 is to the end.

        Who is known to be `reading`, and changes neither bytes nor times, has no need to wait for fills elsewhere in
        the file, which put back its times; `ready` neither.

        `size_now` is the file's size as seen just before (negative: not known). Raises OSError, EIO, when the supply
        stayed away past the set time or the data is damaged. Never raises for a range past the end.
        """

    def truncated(self, number: int, size: int) -> None:
        """The file ends, or is about to end, at `size`: durably noted before it returns, never filled past it."""

    def may_be_cut(self, number: int) -> None:
        """Somebody is about to cut the file, to whatever size: said before he is let pass."""

    def window(self, number: int) -> Any:
        """A context manager: while it is held no fill writes to this file, so that a change of size, or of times, and
        what is noted of it are one."""

    def file(self, number: int) -> ColdFile: ...

    def files(self) -> Sequence[ColdFile]:
        """All cold files, whole ones too, by number."""

    def is_whole(self, number: int) -> bool: ...


class Mechanism(Protocol):
    """How readers and writers of cold ranges are stopped, in the filler. Made anew by each filler with `attach`."""

    name: str
    sees_truncation: bool
    """Whether every change of size comes by here, O_TRUNC too, and waits for `Fills.truncated`. If not, fills are
    written so that they can never lengthen a file."""

    def guard(self) -> None:
        """Mark, or pass through, all files that are not whole. Called by each filler before `serve`. Idempotent."""

    def expose(self) -> None:
        """Let the tree be reached at `dir` (engine.fill.tree.exposing.move_up does it for what lies at `hidden`).
        Called once all is guarded, by each filler. Idempotent."""

    def serve(self) -> None:
        """Answer readers, in threads of its own; returns at once."""

    def open(self, number: int) -> int:
        """A new descriptor, read and write, of the real file, through which fills raise no event of ours; the caller
        closes it. OSError (ENOENT, ESTALE) when the file is gone."""

    def whole(self, number: int) -> None:
        """Nothing of this file is cold any more: drop its mark, pass it through. Idempotent."""

    def finish(self) -> list[str]:
        """All files are whole: take away what stands between the tree and its users. What still holds it, a line each
        (empty: done); asked again every second. Idempotent."""

    def withdraw(self) -> int:
        """Cancelled: shut the tree off from those who come later (who holds cold files open gets errors, `ensure` sees
        to that). A descriptor of the directory in which all of it now is, which the caller empties. Idempotent."""

    def close(self) -> None:
        """Stop serving; the descriptor stays with the supervisor."""


class MechanismModule(Protocol):
    """What engine.fill.pre_access.mechanism and engine.fill.by_fuse.mechanism have, as functions of the module.

    The first four run in bcsctl or in the supervisor: they import nothing heavy.
    """

    COSTS: str
    """One line for people: what this mechanism costs while it fills."""

    def why_not(self, directory: bytes) -> str:
        """Why it can't serve a tree in this existing directory, here and as this user; empty when it can."""

    def hold(self, place: Place, recipe: Recipe) -> int:
        """In the supervisor: make the group, or the mount, that stops readers for as long as the answer, a descriptor,
        is open. After a reboot too: then with the cover still over the tree."""

    def orphaned(self, place: Place, recipe: Recipe, fd: int) -> None:
        """In the supervisor: the filler has died. Have what it left unanswered asked again, or answered with an error
        that says so; never allowed."""

    def let_go(self, place: Place, recipe: Recipe, fd: int) -> None:
        """In the supervisor, at the end or after a cancel (the tree is gone then): unmount, close, leave nothing."""

    def cover(self, place: Place, recipe: Recipe) -> None:
        """Before anything can reach a tree that is not guarded: shut it off, with an empty read-only mount over `dir`
        or otherwise. Idempotent. After a reboot, by `bcsctl apply` or at boot."""

    def uncover(self, place: Place, recipe: Recipe) -> None:
        """Take the cover away: all is guarded again. Idempotent; nothing when there is none."""

    def attach(self, place: Place, recipe: Recipe, fd: int, fills: Fills) -> Mechanism:
        """In the filler: the mechanism, over the descriptor that was inherited."""


MODULES = {PRE_ACCESS: "engine.fill.pre_access.mechanism", FUSE: "engine.fill.by_fuse.mechanism"}
"""The module of each mechanism, the better first."""
