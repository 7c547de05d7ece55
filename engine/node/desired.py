"""What each agent should protect, from the latest applied policies; and a bell for those who wait.

`generation` grows with every change, marks asked for among them. An agent that has seen the
newest waits here until there is something newer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from engine.env import randomness
from engine.model.policy.access import AccessPolicy, Notification
from engine.model.policy.agents import USUAL, AgentSettings, settings_of
from engine.model.policy.site import EMBEDDED_SITE
from engine.model.times import parse_time
from engine.plan.access import access_policies
from engine.plan.desired import for_agent
from engine.plan.notifications import notifications_in

MARKS_KEPT = 10_000
"""Marks that are remembered, done or not; the oldest are forgotten first."""

GENERATIONS_A_BOOT = 1 << 24


def first_generation(boot: int) -> int:
    """Where a boot begins to count. Those of different boots are never equal, so an agent that waited for a newer one
    at the node's last boot is answered at once; below 2**53 for the first 500 million boots."""
    return boot * GENERATIONS_A_BOOT


@dataclass(slots=True)
class MarkRequest:
    """A bookmark that someone asked for on one stream; done once its agent says so."""

    id: str
    stream: str
    address: str
    label: str
    done: bool = False
    wanted: str = ""
    """`crash`: no other point will do."""
    point_class: str = ""
    """That of the point it was set on; "" when it is done: it was not set, for the `reason`."""
    reason: str = ""
    until: int = 0
    """Site time after which nobody waits for it any more: it is not set then; 0 for never."""


@dataclass(slots=True)
class Desired:
    """The applied policies as agents see them. Lives on the event loop; nothing here blocks.

    `sources` by address. `sources_generation` is the one since which they are as they are: an agent that has it is in
    step with the policies, whatever marks were asked for since. `since` tells for each address when the policies began
    to name it, microseconds. `agents` are the hosts that have an agent by the policies, with sources or without;
    `agent` is what these may use, by the document of `site`.
    """

    number: int = 0
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    marks: dict[str, MarkRequest] = field(default_factory=dict)
    generation: int = 0
    sources_generation: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    closing: bool = False
    since: dict[str, int] = field(default_factory=dict)
    access: tuple[AccessPolicy, ...] = ()
    notifications: tuple[Notification, ...] = ()
    agents: tuple[str, ...] = ()
    applied_at: int = 0
    site: str = EMBEDDED_SITE
    agent: AgentSettings = USUAL
    _addresses: dict[str, str] = field(default_factory=dict)

    def begin(self, boot: int, applied: dict[str, Any] | None) -> None:
        """What holds when the node starts; `applied` is None where nothing was."""
        self.generation = self.sources_generation = first_generation(boot)
        if applied is not None:
            self._take(applied)

    async def replace(self, applied: dict[str, Any]) -> None:
        """Take over a newer applied control value. An older one, overtaken on its way here, changes nothing."""
        if applied["number"] > self.number:
            self._take(applied)
            self.sources_generation = self.generation + 1
            await self._ring()

    def _take(self, applied: dict[str, Any]) -> None:
        self.number = applied["number"]
        self.sources = dict(applied["sources"])
        self.applied_at = at = applied_at(applied)
        self.since = {address: self.since.get(address, at) for address in self.sources}
        self._addresses = {source["stream"]: address for address, source in self.sources.items()}
        self.access = access_policies(applied.get("documents") or {})
        self.agents = tuple(applied.get("agents") or ())
        self.notifications = notifications_in(applied.get("documents") or {})
        self.agent = settings_of(applied.get("documents") or {}, self.site)

    def streams_of(self, group: str) -> list[str]:
        """The streams of a group's sources, by address."""
        return [source["stream"] for address, source in sorted(self.sources.items()) if address.split("/")[0] == group]

    async def ask_marks(self, group: str, label: str, wanted: str = "", until: int = 0) -> list[MarkRequest]:
        """Ask for a mark on every stream of a group; none where there is no such group. `wanted` is the one class of
        point that will do, "" for the best to be had; after `until`, site time, it is not set any more; 0 for ever."""
        asked = [
            MarkRequest(randomness.token_hex(8), source["stream"], address, label, wanted=wanted, until=until)
            for address, source in sorted(self.sources.items())
            if address.split("/")[0] == group
        ]
        if asked:
            self.marks.update({mark.id: mark for mark in asked})
            for mark in list(self.marks)[: max(0, len(self.marks) - MARKS_KEPT)]:
                del self.marks[mark]
            await self._ring()
        return asked

    def marks_done(
        self, host: str, ids: Iterable[str], told: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    ) -> None:
        """A host's agent has set these marks; those of other hosts' streams are not its to call done.

        `told` says by id what `class` of point each is on, "" for a mark that could not be set, and the `reason`.
        """
        for mark in ids:
            asked = self.marks.get(mark)
            if asked is not None and asked.address.split("/")[1] == host:
                asked.done = True
                if mark in told:
                    asked.point_class, asked.reason = told[mark]["class"], told[mark]["reason"]
                elif asked.wanted:
                    asked.reason = "this agent is too old to say what kind of point it is"

    async def wait(self, generation: int, seconds: float) -> None:
        """Return once the generation is another than the one given, or the time is over."""
        async with self.changed:
            try:
                async with asyncio.timeout(seconds):
                    await self.changed.wait_for(lambda: self.closing or self.generation != generation)
            except TimeoutError:
                pass

    async def release(self) -> None:
        """Let everyone go who waits, now and from now on: the node stops."""
        async with self.changed:
            self.closing = True
            self.changed.notify_all()

    def for_host(self, host: str) -> dict[str, Any]:
        """{generation, agent, sources, marks} as the agent of that host gets them."""
        mine = {address: source for address, source in self.sources.items() if address.split("/")[1] == host}
        streams = {source["stream"] for source in mine.values()}
        return {
            "generation": self.generation,
            "agent": self.agent.as_json(),
            "sources": [for_agent(address, source) for address, source in sorted(mine.items())],
            "marks": [
                {"id": mark.id, "stream": mark.stream, "label": mark.label, "class": mark.wanted, "until": mark.until}
                for mark in self.marks.values()
                if mark.stream in streams and not mark.done
            ],
        }

    def owner(self, stream: str, host: str) -> str | None:
        """The address of a stream that is this host's by the applied policies, else None."""
        address = self._addresses.get(stream)
        return address if address is not None and address.split("/")[1] == host else None

    def address(self, stream: str) -> str | None:
        """What the applied policies call a stream; None when they name it no more."""
        return self._addresses.get(stream)

    async def news(self) -> None:
        """Have every agent look again: something that is not of the policies has changed."""
        await self._ring()

    async def _ring(self) -> None:
        async with self.changed:
            self.generation += 1
            self.changed.notify_all()


def applied_at(applied: Mapping[str, Any]) -> int:
    """When policies were applied, microseconds; 0 where the record doesn't say."""
    text = applied.get("applied_at")
    return parse_time(text, 0) if isinstance(text, str) and text else 0


def bounded(seconds: float, seconds_max: float) -> float:
    """A time to wait from 0 to `seconds_max`, whatever was asked for."""
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), seconds_max)
