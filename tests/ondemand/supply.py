"""A supply that reads a directory, run as the filler of a recovery: as slow, as absent and as damaged as a test wants.

What it is like stands in the file `like.json` of the supply's own directory, read at each request.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from engine.fill.base import Away, ColdFile, Place, Recipe
from engine.fill.life.process import main
from engine.model.errors import Damaged
from engine.tree.sparse import data_ranges

READS = "reads"
"""In the supply's directory: a line with path and offset for each read that was answered."""


@dataclass(frozen=True, slots=True)
class Like:
    """What the supply is like just now. `read_seconds` is the time of each read; `damaged` are paths."""

    away: bool = False
    read_seconds: float = 0.0
    damaged: list[str] = field(default_factory=list)


def set_like(place: Place, like: Like) -> None:
    beside = place.supply / "like.new"
    beside.write_text(json.dumps(asdict(like)))
    beside.replace(place.supply / "like.json")


class Directory:
    """See engine.fill.base.Supply. Every file is opened when it is read: nothing is kept."""

    def __init__(self, place: Place, recipe: Recipe) -> None:
        self._like = place.supply / "like.json"
        self._source = os.fsencode(recipe.supply["source"])
        self._reads = (place.supply / READS).open("a", buffering=1, errors="surrogateescape")

    def read(self, file: ColdFile, offset: int, length: int) -> Sequence[tuple[int, bytes]]:
        like = Like(**json.loads(self._like.read_bytes()))
        if like.read_seconds:
            time.sleep(like.read_seconds)
        if like.away:
            raise Away("a test has taken it away")
        if os.fsdecode(file.path) in like.damaged:
            raise Damaged("a test has damaged it", hint="mend the test", details={})
        self._reads.write(f"{os.fsdecode(file.path)}\t{offset}\n")
        fd = os.open(self._source + b"/" + file.path, os.O_RDONLY)
        try:
            end = min(offset + length, file.size)
            spans = [(max(at, offset), min(at + count, end)) for at, count in data_ranges(fd, file.size)]
            return [(at, os.pread(fd, stop - at, at)) for at, stop in spans if at < stop]
        finally:
            os.close(fd)

    def heat(self) -> dict[int, tuple[int, int]]:
        return {}

    def close(self) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Directory))
