"""`python -m engine.recovery.on_demand --role filler …`: the filler of trees whose journal is on this machine."""

from __future__ import annotations

import os
import sys
import traceback

from engine.fill.base import Place, Recipe
from engine.fill.kept import documents
from engine.fill.life.process import main
from engine.fill.life.starting import home_of
from engine.model.counts import counted
from engine.model.errors import BcsError
from engine.recovery.acts import record_act
from engine.recovery.on_demand.supply import LocalSupply
from engine.recovery.on_demand.told import NAMED_MAX, act_of


def record(place: Place, recipe: Recipe) -> None:
    """The end of the restore, as an act of who began it: every byte was compared with its hash on its way in, but what
    was written to while nobody guarded the tree."""
    seconds = round((documents.read_progress(place).at - recipe.begun_at) / 1e6, 3)
    unguarded = documents.read_unguarded(place)
    told = {**act_of(recipe), "seconds": seconds, "verified": not unguarded, "failures": len(unguarded)}
    if unguarded:
        were = "was" if len(unguarded) == 1 else "were"
        error = f"{counted(len(unguarded), 'file')} {were} {documents.UNGUARDED}"
        told |= {"error": error, "unguarded": unguarded[:NAMED_MAX]}
    try:
        record_act(home_of(place), "restore", recipe.by, told)
    except (OSError, BcsError):
        traceback.print_exc()  # what is there stays, recorded or not


if __name__ == "__main__":
    code = main(sys.argv[1:], LocalSupply, record)
    sys.stderr.flush()
    os._exit(code)  # threads of libraries need no farewell
