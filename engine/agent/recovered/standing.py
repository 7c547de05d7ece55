"""The recoveries on demand that stand where a source looks: is one being made, has one come to be used there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.drivers.files import Scope, within
from engine.env import durable
from engine.fill.base import CANCELLED, FAILED, FILLING, FINISHING, FUSE, LIVING, PREPARING, Place, Recipe
from engine.fill.kept import documents
from engine.fill.kept.documents import State
from engine.fill.life.guarding import guarded
from engine.fill.life.holding import being_made
from engine.fill.tree.cover import covering
from engine.model.errors import Damaged

TAKEN = "captured"
"""A file in the place of a recovery: capture knows by itself what the map knew."""

MOUNTED = "recovery_dev"
"""The fact of a record that tells the st_dev under which it has the tree's inodes; 0 where that is seen plainly."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A recovery that touches a source. `own`: it is this very source, all of it, at the place where it lives."""

    place: Place
    recipe: Recipe
    state: State
    own: bool

    @property
    def fills(self) -> bool:
        return self.state.state in (FILLING, FINISHING)

    @property
    def why_not(self) -> str:
        """Why nobody may look at the tree now: it is being made, or nothing keeps readers of cold bytes waiting, as
        after a reboot, so that they would read zeros. Empty when it can be used."""
        if self.state.state == PREPARING:
            if being_made(self.place):
                return f"recovery {self.recipe.id} is being made"
            return f"recovery {self.recipe.id} was cut off while it was made: `bcsctl apply` clears it away"
        return _not_guarded(self.recipe.id) if self.fills and not guarded(self.place, self.state) else ""

    @property
    def dev(self) -> int | None:
        """The st_dev under which the tree's files are seen behind a mount of ours; None where they are seen plainly."""
        if self.recipe.mechanism != FUSE or not self.fills:
            return None
        return os.stat(self.recipe.dir).st_dev

    def note_taken(self) -> None:
        durable.replace(self.place.path / TAKEN, b"")


def standing(home: Path, stream: str, scope: Scope) -> list[Standing]:
    """Those that have not been taken over or away, the oldest first."""
    return sorted(_standing(home, stream, scope), key=lambda each: each.recipe.begun_at)


def living_at(home: Path, stream: str, scope: Scope) -> Iterator[Standing]:
    """Those that may be in the way. Asked often: those that are over are not read again."""
    return _standing(home, stream, scope, _over)


def why_covered(scope: Scope) -> str:
    """Why nobody may look at a source over which a cover lies, whosesoever it is; empty when none does."""
    recovery = covering(os.path.realpath(root) for root in scope.roots)
    return _not_guarded(recovery) if recovery else ""


def _not_guarded(recovery: str) -> str:
    return f"recovery {recovery} is not guarded: `bcsctl apply` brings its filler back"


_over: set[Path] = set()
"""Places of recoveries that have ended: none begins again."""


def _standing(home: Path, stream: str, scope: Scope, over: set[Path] | None = None) -> Iterator[Standing]:
    for place in documents.places(home):
        if over is not None and place.path in over:
            continue
        try:
            if (place.path / TAKEN).exists():
                continue
            state = documents.read_state(place)
            if over is not None and state.state not in LIVING:
                over.add(place.path)
            if state.state in (CANCELLED, FAILED):
                continue
            recipe = documents.read_recipe(place)
        except (Damaged, FileNotFoundError):
            continue  # it goes, or never was whole
        directory = os.fsencode(recipe.dir)
        reals = [os.path.realpath(root) for root in scope.roots]
        if any(within(real, directory) or within(directory, real) for real in reals):
            base = os.fsencode(recipe.base)
            own = recipe.stream == stream and reals == [directory] and scope.roots == (base,)
            yield Standing(place, recipe, state, own)
