"""In which order files are filled when nobody asks for them: what was lately and often in use first. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from engine.fill.base import ColdFile
from engine.model.times import HOUR

HALF_LIFE = 6 * HOUR
"""A change so long before the moment counts half as much as one just before it."""


def order(files: Sequence[ColdFile], heat: Mapping[int, tuple[int, int]], at: int) -> list[int]:
    """The numbers of all files: hot ones first, of equally hot ones the smaller first.

    `heat` has (changes, time of the last) by file_id, `at` is the moment that is recovered, both in µs. Twice as many
    changes count as much as a change HALF_LIFE later; what never changed comes last.
    """

    def key(file: ColdFile) -> tuple[float, int, int]:
        changes, last = heat.get(file.file_id, (0, 0))
        score = math.log2(changes) - max(0, at - last) / HALF_LIFE if changes > 0 else -math.inf
        return -score, file.size, file.number

    return [file.number for file in sorted(files, key=key)]
