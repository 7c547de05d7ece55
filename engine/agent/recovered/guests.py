"""Files of a recovery that stands in a source and is not its own: nobody looks at them before they are whole.

Reading them would fill them for capture's sake. Once all of a file is there it is a new file like any other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from engine.agent.recovered.standing import Standing
from engine.fill.kept import table
from engine.fill.kept.map import Map

AGAIN_SECONDS = 5.0


class Guests:
    """The cold files of some recoveries, by (st_dev, st_ino)."""

    def __init__(self, standing: Sequence[Standing]) -> None:
        self.standing = list(standing)
        self._maps = [Map(each.place.map) for each in standing]
        self._files = {
            (file.dev, file.ino): (number, file.first_block, file.first_block + file.blocks)
            for number, each in enumerate(standing)
            for file in table.read(each.place.files)
        }

    def cold(self, status: os.stat_result) -> bool:
        """Whether a file is of theirs, and not whole yet."""
        found = self._files.get((status.st_dev, status.st_ino))
        if found is None:
            return False
        number, first, end = found
        if self._maps[number].first_cold(first, end) >= 0:
            return True
        del self._files[status.st_dev, status.st_ino]
        return False

    def close(self) -> None:
        for each in self._maps:
            each.close()
