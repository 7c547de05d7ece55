"""Drills that hosts make for this node: what each is sent, how far it is, what its agent says came of it.

Nothing of them outlives the node: one that is cut off is made again. Who asks for one asks again and again how far it
is; when nobody does any more, its host is told to stop.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engine.env.clock import Clock
from engine.env.randomness import token_hex
from engine.journal.open import Journal
from engine.model.errors import NothingThere, Refused
from engine.model.ids import parse_position
from engine.model.points import Point
from engine.model.policy.drills import Check
from engine.model.times import SECOND
from engine.query import streams
from engine.query.session import Session
from engine.recovery.drill.host_word import FAILED, OPEN, SILENT
from engine.recovery.restoring import pieces_of, prepare_for
from engine.recovery.sending import TARGET, Sending
from engine.wire.errands import DRILL

ID_BYTES = 8
AT_ONCE = 4
FORSAKEN_AFTER = 30 * SECOND
"""Who asked for a drill looks after it more often than this."""


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a drill, all of it: `id` is what its host calls it by."""

    id: str
    address: str
    stream: str
    position: str
    point_at: int
    point_class: str
    path: None = None


@dataclass(slots=True)
class Rehearsal:
    """One drill. Times in microseconds; `restored_at` is when its host said that all sources were back, `heard_at` when
    it last said anything, `asked_at` when somebody last asked. Of one by on-demand start `usable_at` is when all could
    be used, `restored_at` when the first check over them had passed. `run` is the process that makes it there; `answer`
    is what its host says came of it."""

    id: str
    group: str
    host: str
    how: dict[str, Any]
    parts: tuple[Part, ...]
    begun_at: int
    asked_at: int
    heard_at: int = 0
    usable_at: int = 0
    restored_at: int = 0
    phase: str = "waiting"
    files: int = 0
    bytes: int = 0
    state: str = OPEN
    run: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    sendings: dict[tuple[str, bool], asyncio.Future[tuple[Sending, int]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("id", "group", "host", "state", "phase", "files", "bytes")}
        times = {name: getattr(self, name) for name in ("begun_at", "heard_at", "usable_at", "restored_at")}
        return {**told, **times, "version": self.version, "answer": self.answer}


@dataclass(slots=True)
class Rehearsals:
    """All of them. Lives on the event loop, but for what is worked out and made on others' threads. `ended` hears of
    each that is over."""

    journal: Journal
    clock: Clock
    ended: Callable[[Rehearsal], None] = lambda rehearsal: None
    known: dict[str, Rehearsal] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    closing: bool = False

    def for_host(self, host: str) -> list[dict[str, Any]]:
        """What the agent of a host is to make."""
        return [
            {"id": each.id, "way": DRILL, "how": each.how}
            for each in self.known.values()
            if each.host == host and each.state == OPEN
        ]

    async def open(self, rehearsal: Rehearsal) -> None:
        """Begin one. Refused while too many run. Those that nobody asks for any more end."""
        await self.forsake()
        if sum(each.state == OPEN for each in self.known.values()) >= AT_ONCE:
            raise Refused(f"{AT_ONCE} drills run on hosts already", hint="try again once one of them has ended")
        over = [id for id, each in self.known.items() if each.state != OPEN]
        for id in over[: max(0, len(over) - AT_ONCE)]:
            del self.known[id]
        self.known[rehearsal.id] = rehearsal
        await self._ring(rehearsal)

    def find(self, id: str) -> Rehearsal:
        if id not in self.known:
            raise NothingThere(f"there is no drill {id[:40]} on a host now")
        return self.known[id]

    async def end(self, rehearsal: Rehearsal, state: str, answer: Mapping[str, Any]) -> None:
        """It is over; the first end stays."""
        if rehearsal.state == OPEN:
            rehearsal.state, rehearsal.answer = state, dict(answer)
            rehearsal.sendings.clear()
            self.ended(rehearsal)
            await self._ring(rehearsal)

    async def by(self, rehearsal: Rehearsal, run: str) -> bool:
        """Whether this is the process that makes it: the first that asks. Another one comes where that was killed, and
        what was measured by then counts no more."""
        rehearsal.run = rehearsal.run or run
        if rehearsal.run == run:
            return True
        await self.end(rehearsal, FAILED, {"message": "it was cut off"})
        return False

    async def heard(self, rehearsal: Rehearsal, now: int, **changes: Any) -> None:
        rehearsal.heard_at = now
        for name, value in changes.items():
            setattr(rehearsal, name, value)
        await self._ring(rehearsal)

    async def forsake(self) -> list[Rehearsal]:
        """End those that nobody asks for any more; answers them."""
        now = self.clock.now()
        found = [each for each in self.known.values() if each.state == OPEN and now - each.asked_at > FORSAKEN_AFTER]
        for each in found:
            await self.end(each, SILENT, {"message": "nobody asks for it any more"})
        return found

    async def wait(self, rehearsal: Rehearsal, version: int, seconds: float) -> None:
        """Return once there is news beyond `version`, or the time is over."""
        async with self.changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.changed.wait_for(lambda: self.closing or rehearsal.version != version)

    async def release(self) -> None:
        """Let everyone go who waits: the node stops."""
        async with self.changed:
            self.closing = True
            self.changed.notify_all()

    async def _ring(self, rehearsal: Rehearsal) -> None:
        async with self.changed:
            rehearsal.version += 1
            self.changed.notify_all()


def new_id() -> str:
    return token_hex(ID_BYTES)


def how_of(
    group: str, at: str, scratch: str, parts: Sequence[Part], checks: Sequence[Check], on_demand: str = ""
) -> dict[str, Any]:
    """What a host is told of a drill."""
    named = [(part.id, *part.address.split("/")[1:]) for part in parts]
    return {
        "group": group,
        "at": at,
        "scratch": scratch,
        "on_demand": on_demand,
        "sources": [{"id": id, "host": host, "name": name} for id, host, name in named],
        "checks": [
            {
                "name": check.name,
                "command": check.command if isinstance(check.command, str) else list(check.command),
                "timeout_seconds": check.timeout / SECOND,
            }
            for check in checks
        ],
    }


def work_out(journal: Journal, part: Part, *, contents: bool) -> tuple[Sending, int]:
    """(what is sent of a source, the bytes that it takes on a disk), from the journal; without `contents` names and
    attributes alone, and where bytes lie is not looked up."""
    point = Point(parse_position(part.position), part.point_at, 0, part.point_class)
    with Session(journal) as session:
        prepared = prepare_for(journal, session, streams.info(journal, part.stream), point, None, TARGET)
        pieces = pieces_of(session, prepared) if contents else {}
    stored = sum(piece.length for found in pieces.values() for piece in found if piece.data is not None)
    return Sending(journal, part.id, part.stream, prepared.plan, pieces), stored


def scratch_path(text: str) -> str:
    """A directory on the host, as a policy names it, or nothing."""
    if text and not os.path.isabs(text):
        raise Refused(f"'{text[:200]}' is not an absolute path")
    return text
