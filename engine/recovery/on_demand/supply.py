"""Contents from the journal on this machine, from the first read on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.fill.base import Away, ColdFile, Place, Recipe
from engine.journal.open import open_local
from engine.model.errors import BcsError, Damaged
from engine.model.ids import parse_position
from engine.recovery.on_demand.lookup import Lookup

INDEX = "index"
"""The role of the process that looks up where the bytes of all files lie."""


class LocalSupply:
    """See engine.fill.base.Supply."""

    def __init__(self, place: Place, recipe: Recipe, *, in_background: bool = True) -> None:
        self._place = place
        self._indexing: subprocess.Popen[bytes] | None = None
        self._ended = False
        key = Path(recipe.supply["master_key"])
        self._lookup = Lookup(
            *(place.supply, recipe.stream, parse_position(recipe.position)),
            lambda: open_local(Path(recipe.supply["journal"]), bytes.fromhex(key.read_text("ascii").strip())),
            in_background=in_background,
            by_another=self._index_by_another,
        )

    def read(self, file: ColdFile, offset: int, length: int) -> Sequence[tuple[int, memoryview]]:
        try:
            return self._read(file, offset, length)
        except Damaged:
            if not self._lookup.moved(file.file_id, offset, offset + length):
                raise
            return self._read(file, offset, length)
        except (OSError, BcsError) as error:  # the journal's disk is not there, say
            raise Away(str(error)) from error

    def heat(self) -> dict[int, tuple[int, int]]:
        return self._lookup.heat()

    def index(self) -> None:
        """See engine.recovery.on_demand.lookup.Lookup."""
        self._lookup.index()

    def close(self) -> None:
        self._lookup.close()

    def end(self) -> None:
        """No process of ours is left."""
        self._ended = True
        if self._indexing is not None:
            self._indexing.kill()
            self._indexing.wait()

    def _index_by_another(self) -> None:
        """Have a process of its own index all files, and wait for it: what it has to say stands in the log."""
        module = __name__.rpartition(".")[0]
        argv = [sys.executable, "-m", module, "--role", INDEX, "--place", str(self._place.path)]
        if not self._ended:
            self._indexing = subprocess.Popen([*argv, "--parent", str(os.getpid())])
            self._indexing.wait()

    def _read(self, file: ColdFile, offset: int, length: int) -> list[tuple[int, memoryview]]:
        reader, found = self._lookup.reader(), []
        for piece in self._lookup.pieces(file.file_id, offset, offset + length):
            data = reader.read(piece, self._lookup.stream)
            first, last = max(offset, piece.offset), min(offset + length, piece.offset + piece.length)
            found.append((first, data[first - piece.offset : last - piece.offset]))
        return found


def first_of(place: Place) -> Path:
    """The index of the small files, written with the tree: an application touches many of them at its start."""
    return place.supply / "first"


def all_of(place: Place) -> Path:
    return place.supply / "all"
