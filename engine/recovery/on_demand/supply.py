"""Contents from the journal on this machine, from the first read on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.fill.base import Away, ColdFile, Place, Recipe
from engine.journal.open import open_local
from engine.model.errors import BcsError, Damaged
from engine.model.ids import parse_position
from engine.recovery.on_demand.lookup import Lookup


class LocalSupply:
    """See engine.fill.base.Supply."""

    def __init__(self, place: Place, recipe: Recipe, *, in_background: bool = True) -> None:
        key = Path(recipe.supply["master_key"])
        self._lookup = Lookup(
            *(place.supply, recipe.stream, parse_position(recipe.position)),
            lambda: open_local(Path(recipe.supply["journal"]), bytes.fromhex(key.read_text("ascii").strip())),
            in_background=in_background,
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

    def close(self) -> None:
        self._lookup.close()

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
