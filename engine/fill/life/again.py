"""Looking after the recoveries of a home: a tree that nobody guards is covered at once, and its supervisor begun again.

For a process that lives longer than theirs, on machines where nothing else looks after them: all of them killed, or
ended with the machine.
"""

from __future__ import annotations

from pathlib import Path

from engine.env.clock import SYSTEM, Clock
from engine.fill.kept import documents
from engine.fill.life import service
from engine.fill.life.recoveries import UNGUARDED, Recovery, look, require_lasting
from engine.fill.life.starting import module_of, start_supervisor
from engine.model.errors import BcsError

LOOK_SECONDS = 0.2
AGAIN_SECONDS = 30.0
"""Before the same one is begun again, whatever came of it."""


class Again:
    """Keeps when it looked last, and which it began."""

    def __init__(self, home: Path, clock: Clock = SYSTEM) -> None:
        self._home, self._clock = home, clock
        self._looked = clock.monotonic() - LOOK_SECONDS
        self._begun: dict[Path, float] = {}
        self._over: set[Path] = set()

    def look(self) -> list[str]:
        """What was done, a line each. Asked as often as one likes."""
        now = self._clock.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return []
        self._looked = now
        said = []
        for place in documents.places(self._home):
            if place.path in self._over or now - self._begun.get(place.path, now - AGAIN_SECONDS) < AGAIN_SECONDS:
                continue
            try:
                found = look(place)
            except (BcsError, OSError):
                continue  # it goes, or is not whole yet
            if not found.living:
                self._over.add(place.path)
            elif found.word == UNGUARDED:
                self._begun[place.path] = now
                said.append(_begin(found))
        return said


def _begin(found: Recovery) -> str:
    recipe = found.recipe
    begun = f"recovery {recipe.id} was not guarded: {recipe.dir}"
    try:
        if not service.possible():  # with systemd we may be confined: what it starts is not, and covers the tree first
            module_of(recipe).cover(found.place, recipe)
        require_lasting(found)
        start_supervisor(found.place, as_before=True)
    except (BcsError, OSError) as error:
        return f"{begun} can't be guarded: {error}"
    return f"{begun} is covered until it is again"
