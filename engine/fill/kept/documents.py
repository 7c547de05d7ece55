"""The small documents of a recovery: its recipe, its state, what is wanted of it, how far it is.

What decides is replaced durably, so that it holds after a power cut; progress is not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import PREPARING, Place, Recipe
from engine.model.errors import Damaged

RECOVERIES = "recoveries"
UNGUARDED = "written to while nobody guarded the tree"
"""Of files: see `note_unguarded`."""
_Document = TypeVar("_Document")


@dataclass(frozen=True, slots=True)
class State:
    """What a recovery is doing (engine.fill.base.LIVING and the ends), since `at` (µs), and why if it failed.

    `guard` names the life of the supervisor, boot and process, under which the map is known to be true: another one
    asks the file system first.
    """

    state: str = PREPARING
    at: int = 0
    guard: str = ""
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked of a recovery: to pause, another rate (0: none), to fill at full speed, to be cancelled."""

    paused: bool = False
    rate_bytes: int | None = None
    finish: bool = False
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a recovery is. `rate_bytes` is a second's, over the last ones; `damaged` are paths of which the journal
    has lost bytes; `holds` what keeps the mechanism from being taken away."""

    at: int = 0
    bytes_filled: int = 0
    bytes_total: int = 0
    rate_bytes: int = 0
    files_left: int = 0
    waiting: int = 0
    away: bool = False
    damaged: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Root:
    """The attributes that the directory of the tree gets in the end, if it was made for it; `xattrs` in hexadecimal."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: str


def place_of(home: Path, id: str) -> Place:
    return Place(home / RECOVERIES / id)


def places(home: Path) -> Iterator[Place]:
    """Every recovery that has a recipe, by id."""
    try:
        found = sorted((home / RECOVERIES).iterdir())
    except FileNotFoundError:
        return
    for path in found:
        if (path / "recipe.json").exists():
            yield Place(path)


def read_recipe(place: Place) -> Recipe:
    return _read(Recipe, place.recipe)


def write_recipe(place: Place, recipe: Recipe) -> None:
    _write(place.recipe, recipe)


def read_state(place: Place) -> State:
    return _read(State, place.state) if place.state.exists() else State()


def write_state(place: Place, state: State, clock: Clock = SYSTEM) -> None:
    _write(place.state, State(**{**asdict(state), "at": clock.now()}))


def read_wanted(place: Place) -> Wanted:
    return _read(Wanted, place.wanted) if place.wanted.exists() else Wanted()


def write_wanted(place: Place, wanted: Wanted) -> None:
    _write(place.wanted, wanted)


def read_root(place: Place) -> Root | None:
    path = place.path / "root.json"
    return _read(Root, path) if path.exists() else None


def write_root(place: Place, root: Root) -> None:
    _write(place.path / "root.json", root)


def read_progress(place: Place) -> Progress:
    return _read(Progress, place.progress) if place.progress.exists() else Progress()


def write_progress(place: Place, progress: Progress) -> None:
    """Replaced at once, though not durably: the map knows."""
    beside = place.progress.with_suffix(".new")
    beside.write_bytes(_encoded(progress))
    beside.replace(place.progress)


def read_holes(place: Place) -> dict[int, int]:
    """Bytes by file_id: see Place.holes."""
    if not place.holes.exists():
        return {}
    return {int(file_id): count for file_id, count in json.loads(place.holes.read_bytes()).items()}


def write_holes(place: Place, holes: Mapping[int, int]) -> None:
    durable.replace(place.holes, json.dumps(holes).encode())


def note_unguarded(place: Place, path: bytes) -> None:
    """A file was written to while nobody guarded the tree: durable before it returns."""
    fd = os.open(place.unguarded, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(os.fsdecode(path)).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    durable.sync_directory(place.path)


def read_unguarded(place: Place) -> list[str]:
    """The paths that files had when the tree was made, each once."""
    try:
        lines = place.unguarded.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return sorted({json.loads(line) for line in lines if line.endswith(b"\n")})


def _read(kind: type[_Document], path: Path) -> _Document:
    """A document; fields that a newer program added are left out."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
        return kind(**{name: value for name, value in found.items() if name in known})
    except (ValueError, TypeError) as error:
        raise Damaged(
            f"{path} can't be read: {error}",
            hint="`bcsctl recover cancel` removes what was made; restore it once more",
            details={"object": str(path)},
        ) from error


def _encoded(document: Any) -> bytes:
    return json.dumps(asdict(document), sort_keys=True, indent=1).encode() + b"\n"


def _write(path: Path, document: Any) -> None:
    durable.replace(path, _encoded(document))
