"""The restores that this node sends: who was granted what, how far each is, and their batches.

What is granted and how it ended is in the journal (engine.recovery.granting); how far a restore is, only here: its
receiver says so again.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from engine.journal.open import Journal
from engine.model.errors import NothingThere, Refused
from engine.model.ids import parse_position
from engine.model.points import Point
from engine.model.times import DAY, format_time
from engine.node.errands import granted_json
from engine.node.supplies import Supplies
from engine.query import streams
from engine.query.applied import paths_of
from engine.query.session import Session
from engine.query.streams import StreamInfo
from engine.recovery import granting
from engine.recovery.granting import End, Grant
from engine.recovery.in_place import prepare as in_place
from engine.recovery.in_place.sending import InPlaceSending
from engine.recovery.in_place.told import in_place_json
from engine.recovery.restoring import data_bytes, pieces_of, prepare_for
from engine.recovery.sending import TARGET, Sending
from engine.recovery.told import plan_json, unreadable_json
from engine.store.base import Missing
from engine.wire.errands import LOOK, OF_SCRATCH

OPEN = "open"
SENDINGS_MAX = 4
"""So many trees are kept worked out; one that is asked for again after that is worked out again."""
AHEAD = 2
"""So many batches are made before they are asked for."""
FORSAKEN_AFTER = DAY
KEPT_MAX = 200
"""Restores that are over are remembered up to this many; older ones are read from the journal."""


@dataclass(slots=True)
class Restore:
    """One restore as this node knows it. Times in microseconds, `heard_at` 0 before its receiver was."""

    grant: Grant
    end: End | None = None
    phase: str = "waiting"
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    heard_at: int = 0
    version: int = 0
    recovery: dict[str, Any] = field(default_factory=dict)
    """What its host said last of a tree that it fills on demand."""
    wanted: dict[str, Any] = field(default_factory=dict)
    """What is asked of that: engine.recovery.granting.want."""

    @property
    def state(self) -> str:
        return self.end.state if self.end else OPEN

    def as_json(self) -> dict[str, Any]:
        grant, end = self.grant, self.end
        return {
            "id": grant.id,
            "address": grant.address,
            "path": grant.path,
            "point": grant.position,
            "at": format_time(grant.point_at),
            "class": grant.point_class,
            "host": grant.host,
            "dir": grant.dir,
            "verify": grant.verify,
            "way": grant.way,
            "by": grant.by,
            "opened_at": format_time(grant.opened_at),
            "state": self.state,
            "phase": self.phase,
            "files": self.files,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "heard_at": format_time(self.heard_at) if self.heard_at else None,
            "version": self.version,
            "ended_at": format_time(end.ended_at) if end else None,
            "outcome": end.outcome if end else {},
            "error": end.error if end else {},
            **({"on_demand": grant.on_demand, **self.told} if grant.on_demand else {}),
        }

    @property
    def told(self) -> dict[str, Any]:
        """Of a tree that is filled on demand."""
        return {"recovery": self.recovery, "wanted": self.wanted}


@dataclass(slots=True)
class Sent:
    """A restore's batches, with those that are being made. `told` is what its receiver hears of it beforehand, `plan`
    what who asks does; `base` is what is brought back."""

    stream: StreamInfo
    base: bytes
    plan: dict[str, Any]
    told: dict[str, Any]
    sending: Sending | InPlaceSending
    making: dict[tuple[int, bool], Future[bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class Restores:
    """All restores of a node. Lives on the event loop, but for what `pool` does."""

    journal: Journal
    known: OrderedDict[str, Restore] = field(default_factory=OrderedDict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    closing: bool = False
    begun_at: int = 0
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "sender"))
    supplies: Supplies = field(init=False)
    _sent: OrderedDict[str, asyncio.Future[Sent]] = field(default_factory=OrderedDict)
    _ending: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.supplies = Supplies(self.journal)

    def begin(self, now: int) -> None:
        """Take up what was granted and not ended before this node started."""
        self.begun_at = now
        for grant in granting.open_ones(self.journal):
            wanted = granting.wanted(self.journal, grant.id) if grant.on_demand else {}
            self.known[grant.id] = Restore(grant, wanted=wanted)

    def for_host(self, host: str) -> list[dict[str, Any]]:
        """What the agent of a host is to receive."""
        mine = (each.grant for each in self.known.values() if each.grant.host == host and each.end is None)
        return [
            granted_json(grant)
            if grant.way or grant.how
            else {
                "id": grant.id,
                "dir": grant.dir,
                "verify": grant.verify,
                **({"in_place": True} if grant.before else {}),
                **({"on_demand": on_demand_json(grant)} if grant.on_demand else {}),
            }
            for grant in mine
        ]

    def forsaken(self, now: int) -> list[Restore]:
        """Those whose receiver has not come for so long that nobody waits for it any more."""
        return [
            each
            for each in self.known.values()
            if each.end is None
            and not each.grant.on_demand
            and now - max(self.begun_at, each.grant.opened_at, each.heard_at) > FORSAKEN_AFTER
        ]

    async def find(self, id: str) -> Restore:
        """A restore, over or not. NothingThere for an unknown one."""
        if id not in self.known:
            if granting.is_id(id):
                with suppress(Missing):
                    grant, end = await asyncio.to_thread(granting.read, self.journal, id)
                    return self.known.setdefault(id, Restore(grant, end))
            raise NothingThere(f"there is no restore {id[:40]}", hint="`bcsctl history` shows what was done")
        return self.known[id]

    async def open(self, grant: Grant, sent: Sent | None) -> Restore:
        """Grant a restore, or an errand for which nothing is sent, durably."""
        await asyncio.to_thread(granting.open_grant, self.journal, grant)
        found = self.known[grant.id] = Restore(grant)
        if sent is not None:
            done: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
            done.set_result(sent)
            self._keep(grant.id, done)
        await self._ring(found)
        return found

    async def close(self, restore: Restore, end: End, record: Callable[[], Awaitable[None]]) -> bool:
        """End a restore, durably; False when it had ended before. `record` comes first: what is over is in the audit.
        A node that dies in between has it told, and records it, once more."""
        async with self._ending:
            if restore.end is not None:
                return False
            await record()
            first = await asyncio.to_thread(granting.close, self.journal, restore.grant.id, end)
            if first:
                restore.end = end
            else:
                _, restore.end = await asyncio.to_thread(granting.read, self.journal, restore.grant.id)
        self._sent.pop(restore.grant.id, None)
        if restore.grant.on_demand:
            await asyncio.to_thread(self.supplies.forget, restore.grant.id)
        over = [id for id, each in self.known.items() if each.end is not None]
        for id in over[: max(0, len(over) - KEPT_MAX)]:
            del self.known[id]
        await self._ring(restore)
        return first

    async def heard(self, restore: Restore, now: int, phase: str, files: int, count: int, seconds: float) -> None:
        """How far a restore's receiver is."""
        restore.heard_at, restore.phase, restore.files, restore.bytes = now, phase, files, count
        restore.seconds = seconds
        await self._ring(restore)

    async def told_of(self, restore: Restore, now: int, recovery: dict[str, Any]) -> None:
        """How far a tree is that its host fills on demand."""
        restore.heard_at, restore.phase, restore.recovery = now, str(recovery["state"]), recovery
        restore.files, restore.bytes = int(recovery["files"]), int(recovery["bytes_filled"])
        self._sent.pop(restore.grant.id, None)  # its host has the tree
        await self._ring(restore)

    async def want(self, restore: Restore, wanted: dict[str, Any]) -> None:
        """Ask something else of it, durably."""
        await asyncio.to_thread(granting.want, self.journal, restore.grant.id, wanted)
        restore.wanted = wanted
        await self._ring(restore)

    async def wait(self, restore: Restore, version: int, seconds: float) -> None:
        """Return once there is news beyond `version`, or the time is over."""
        async with self.changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.changed.wait_for(lambda: self.closing or restore.version != version)

    async def release(self) -> None:
        """Let everyone go who waits: the node stops."""
        async with self.changed:
            self.closing = True
            self.changed.notify_all()

    async def sent(self, restore: Restore) -> Sent:
        """What is sent of a restore: worked out once, and again after this node has started again."""
        if restore.end is not None:
            raise over(restore)
        if restore.grant.way in OF_SCRATCH:
            raise Refused(f"nothing is sent to {restore.grant.way} what is in scratch")
        id = restore.grant.id
        known = self._sent.get(id)
        if known is None:
            loop = asyncio.get_running_loop()
            known = asyncio.ensure_future(loop.run_in_executor(self.pool, work_out, self.journal, restore.grant))
            self._keep(id, known)
        self._sent.move_to_end(id)
        try:
            return await asyncio.shield(known)
        except Exception:
            self._sent.pop(id, None)  # it may go better next time
            raise

    async def batch(self, restore: Restore, number: int, data: bool) -> bytes:
        """One batch; the next ones are begun. NothingThere beyond the last one."""
        sent = await self.sent(restore)
        data = data and restore.grant.way != LOOK  # who only looks is told names, and hashes
        if not 0 <= number < len(sent.sending):
            raise NothingThere(f"restore {restore.grant.id} has {len(sent.sending)} batches, there is no {number}")
        for each in range(number, min(number + 1 + AHEAD, len(sent.sending))):
            if (each, data) not in sent.making:
                sent.making[each, data] = self.pool.submit(_whole, sent.sending, each, data)
        mine = sent.making[number, data]
        try:
            return await asyncio.shield(asyncio.wrap_future(mine))
        finally:
            # One that is asked for again is made again: who was cut off has not got it.
            near = range(number + 1, number + 2 * AHEAD + 2)
            for key in [key for key, made in sent.making.items() if made.done() and key[0] not in near]:
                del sent.making[key]

    async def listing(self, restore: Restore, number: int) -> bytes:
        """One listing. NothingThere beyond the last one."""
        sending = (await self.sent(restore)).sending
        if not isinstance(sending, Sending) or not 0 <= number < sending.listings:
            raise NothingThere(f"restore {restore.grant.id} has no listing {number}")
        made = self.pool.submit(lambda: b"".join(sending.listing(number)))
        return await asyncio.shield(asyncio.wrap_future(made))

    @property
    def busy(self) -> bool:
        """Whether something is being worked out or made."""
        making = (made for sent in self._sent.values() if _made(sent) for made in sent.result().making.values())
        return any(not sent.done() for sent in self._sent.values()) or any(not made.done() for made in making)

    def shut(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.supplies.shut()

    def _keep(self, id: str, sent: asyncio.Future[Sent]) -> None:
        self._sent[id] = sent
        while len(self._sent) > SENDINGS_MAX:
            self._sent.popitem(last=False)

    async def _ring(self, restore: Restore) -> None:
        async with self.changed:
            restore.version += 1
            self.changed.notify_all()


def _made(sent: asyncio.Future[Sent]) -> bool:
    return sent.done() and not sent.cancelled() and sent.exception() is None


def _whole(sending: Sending | InPlaceSending, number: int, data: bool) -> bytes:
    return b"".join(sending.batch(number, data=data))


def on_demand_json(grant: Grant) -> dict[str, Any]:
    """What a host has to know of a tree that it is to fill on demand."""
    return {
        **grant.on_demand,
        "address": grant.address,
        "stream": grant.stream,
        "position": grant.position,
        "point_at": grant.point_at,
        "point_class": grant.point_class,
        "base": grant.base,
        "by": grant.by,
    }


def over(restore: Restore) -> Refused:
    return Refused(f"restore {restore.grant.id} is over: {restore.state}", details={"state": restore.state})


def work_out(journal: Journal, grant: Grant) -> Sent:
    """What a grant gives, from the journal."""
    path = None if grant.path is None else grant.path.encode("utf-8", "surrogateescape")
    point = Point(parse_position(grant.position), grant.point_at, 0, grant.point_class)
    with Session(journal) as session:
        if grant.before:
            before = Point(parse_position(grant.before), 0, 0, "")
            return changes_to_send(
                journal, session, grant.id, grant.stream, (before, point), path, exact=grant.exact, verify=grant.verify
            )
        ways = {"contents": not grant.on_demand}
        return prepared_to_send(
            journal, session, grant.id, grant.stream, lambda: point, path, os.fsencode(grant.dir), **ways
        )


def prepared_to_send(
    journal: Journal,
    session: Session,
    id: str,
    stream: str,
    point: Callable[[], Point],
    path: bytes | None,
    to: bytes,
    *,
    contents: bool = True,
    counted: bool = False,
) -> Sent:
    """The tree at a point as it is sent to the directory `to`; without `contents` all but the bytes of files, of which
    the plan then says how many are no holes only if they are to be `counted`. NothingThere for an unknown path."""
    prepared = prepare_for(journal, session, streams.info(journal, stream), point(), path, TARGET)
    found = pieces_of(session, prepared) if contents else {}
    sending = Sending(journal, id, stream, prepared.plan, found)
    data = data_bytes(session, prepared) if counted and not contents else None
    if contents:
        ids = [made.inode.file_id for made in prepared.plan.files]
        data = sum(piece.length for file_id in ids for piece in found.get(file_id, ()))
    told = {
        "files": len(prepared.plan.files),
        "names": prepared.plan.names,
        "bytes": prepared.plan.bytes,
        **({} if data is None else {"data_bytes": data}),
        "unreadable": unreadable_json(prepared.unreadable),
    }
    return Sent(prepared.stream, prepared.base, plan_json(prepared, to, data), told, sending)


def changes_to_send(
    journal: Journal,
    session: Session,
    id: str,
    stream: str,
    between: tuple[Point, Point],
    path: bytes | None,
    *,
    exact: bool,
    verify: bool,
) -> Sent:
    """What a restore in place changes, from the first point to the second, as it is sent."""
    found = streams.info(journal, stream)
    paths = [path] if path is not None else list(paths_of(journal, stream, between[1].at))
    prepared = in_place.prepare(session, found, *between, paths, exact)
    sending = InPlaceSending(journal, id, prepared, verify=verify)
    plan = in_place_json(prepared)
    return Sent(found, paths[0], plan, {"bytes": plan["bytes"], "in_place": True}, sending)
