"""A recovery on demand that fills a tree, as its documents have it; nobody fills anything."""

from __future__ import annotations

from pathlib import Path

from engine.fill.base import FILLING, PRE_ACCESS, Recipe
from engine.fill.kept import documents
from engine.fill.kept.documents import State

ID = "0123456789ab"
ADDRESS, POSITION = "docs/localhost/files", "1.9"


def note_filling(home: Path, directory: Path) -> None:
    """One with this id that fills `directory`."""
    place = documents.place_of(home, ID)
    place.path.mkdir(parents=True)
    recipe = Recipe(
        id=ID, address=ADDRESS, stream="s", position=POSITION, point_at=0, point_class="quiet", base="/data",
        dir=str(directory), hidden=f"{directory}/.bcs-{ID}", made_dir=True, lasting=True, mechanism=PRE_ACCESS, by="a",
        begun_at=0, boot="b", files=1, bytes=1, rate_bytes=0, away_seconds=1.0, module="none", supply={},
    )  # fmt: skip
    documents.write_recipe(place, recipe)
    documents.write_state(place, State(FILLING, guard="boot:1:1"))
