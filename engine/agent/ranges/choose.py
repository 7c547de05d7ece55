"""The best source of write ranges that works here: the kernel's trace events, or none; mapped files beside either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from engine.agent.ranges.base import Unknown, Writes
from engine.agent.ranges.clones import Clones
from engine.agent.ranges.fillers import Fillers
from engine.agent.ranges.mapped import WithMapped
from engine.agent.ranges.tracefs import NoTracing
from engine.agent.ranges.tracepoints import Tracepoints
from engine.env.clock import SYSTEM, Clock
from engine.model.errors import UsageError

MECHANISMS = ("trace", "none")


def open_writes(
    *,
    force: str | None = None,
    clones: Callable[[], bool] = lambda: True,
    fillers: Callable[[], Iterable[int]] | None = None,
    clock: Clock = SYSTEM,
    environment: Mapping[str, str] = os.environ,
) -> Writes:
    """What tells where files are written; while `clones` says no none are made, which would read files that are cold.
    `fillers` are the processes that fill a tree at the source's own place, by which nothing changes.

    `force`, else the variable BCS_RANGES, names the one mechanism to use: NoTracing when it does not work, UsageError
    when there is none of that name.
    """
    forced = force or environment.get("BCS_RANGES") or None
    if forced is not None and forced not in MECHANISMS:
        raise UsageError(f"no such mechanism for ranges: {forced}", hint=f"one of {', '.join(MECHANISMS)}")
    return WithMapped(Clones(_traced(forced, clock, fillers), clock, may=clones), clock)


def _traced(forced: str | None, clock: Clock, fillers: Callable[[], Iterable[int]] | None) -> Writes:
    if forced == "none":
        return Unknown("nobody is to ask the kernel")
    try:
        return Tracepoints(clock, fillers=Fillers(fillers) if fillers is not None else None)
    except NoTracing as error:
        if forced:
            raise
        return Unknown(error.message)
