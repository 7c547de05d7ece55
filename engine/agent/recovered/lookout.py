"""May a source be looked at now? Nobody looks while a tree is made there, is not guarded, or lies under a cover.

What was read before such a moment may be kept, what was read in it never: so it is asked before each batch is closed,
and one guard in another's place says that there was such a moment in between.
"""

from __future__ import annotations

from pathlib import Path

from engine.agent.endings import Held
from engine.agent.recovered.standing import living_at, why_covered
from engine.agent.settings import Settings
from engine.agent.watch.mounts import MountTable


def home_of(settings: Settings) -> Path:
    return settings.directory.parents[1]


class Lookout:
    """One session's. Made before anything of the source is looked at."""

    def __init__(self, settings: Settings) -> None:
        self._home, self._stream, self._scope = home_of(settings), settings.stream, settings.scope
        self._guards: dict[str, str] = {}
        self._mounts = MountTable([])

    def begin(self, free: bool) -> None:
        """Held when the session may not begin; `free` says that nobody makes a tree there just now."""
        self._check(mounts=True)
        if not free:
            raise Held("a recovery is being made")

    def check(self) -> None:
        """Held when what was looked at since the beginning may not have been the source's tree."""
        self._check(mounts=self._mounts.any_changed())

    def _check(self, *, mounts: bool) -> None:
        for each in living_at(self._home, self._stream, self._scope):
            if why := each.why_not:
                raise Held(why)
            guard = each.state.guard
            if each.fills and self._guards.setdefault(each.recipe.id, guard) != guard:
                raise Held(f"recovery {each.recipe.id} was not guarded for a while")
        if mounts and (why := why_covered(self._scope)):
            raise Held(why)

    def close(self) -> None:
        self._mounts.close()
