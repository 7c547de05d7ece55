"""`python -m engine.recovery.on_demand --role filler …`: the filler of trees whose journal is on this machine.

With `--role index` it looks up where the bytes of all files lie, for the filler that has started it, and gives way.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from engine.env import processes
from engine.env.niceness import give_way
from engine.fill.base import Place, Recipe
from engine.fill.kept import documents
from engine.fill.life.process import main
from engine.fill.life.starting import home_of
from engine.model.errors import BcsError
from engine.recovery.acts import record_act
from engine.recovery.on_demand.supply import INDEX, LocalSupply
from engine.recovery.on_demand.told import NAMED_MAX, act_of


def record(place: Place, recipe: Recipe) -> None:
    """The end of the restore, as an act of who began it: every byte was compared with its hash on its way in, but what
    was written to while nobody guarded the tree."""
    seconds = round((documents.read_progress(place).at - recipe.begun_at) / 1e6, 3)
    unguarded = documents.read_unguarded(place)
    told = {**act_of(recipe), "seconds": seconds, "verified": not unguarded, "failures": len(unguarded)}
    if unguarded:
        told |= {"error": f"{len(unguarded)} files were {documents.UNGUARDED}", "unguarded": unguarded[:NAMED_MAX]}
    try:
        record_act(home_of(place), "restore", recipe.by, told)
    except (OSError, BcsError):
        traceback.print_exc()  # what is there stays, recorded or not


def index(arguments: Sequence[str]) -> int:
    """The exit code. It ends with the filler."""
    parser = argparse.ArgumentParser(INDEX)
    parser.add_argument("--role", required=True, choices=[INDEX])
    parser.add_argument("--place", required=True, type=Path)
    parser.add_argument("--parent", required=True, type=int)
    asked = parser.parse_args(arguments)
    if not processes.end_with(asked.parent):
        return 1
    give_way()
    place = Place(asked.place)
    LocalSupply(place, documents.read_recipe(place), in_background=False).index()
    return 0


if __name__ == "__main__":
    if INDEX in sys.argv[1:3]:
        sys.exit(index(sys.argv[1:]))
    supplies: list[LocalSupply] = []

    def supply_of(place: Place, recipe: Recipe) -> LocalSupply:
        supplies.append(LocalSupply(place, recipe))
        return supplies[0]

    code = main(sys.argv[1:], supply_of, record)
    for each in supplies:
        each.end()
    sys.stderr.flush()
    os._exit(code)  # threads of libraries need no farewell
