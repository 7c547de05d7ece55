"""What each agent should protect, from the latest applied policies; and a bell for those who wait.

`generation` grows with every change, marks asked for among them. An agent that has seen the
newest waits here until there is something newer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from engine.env import randomness
from engine.model.times import parse_duration


@dataclass(slots=True)
class MarkRequest:
    """A bookmark that someone asked for on one stream; done once its agent says so."""

    id: str
    stream: str
    address: str
    label: str
    done: bool = False


@dataclass(slots=True)
class Desired:
    """The applied policies as agents see them. Lives on the event loop; nothing here blocks."""

    number: int = 0
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    marks: dict[str, MarkRequest] = field(default_factory=dict)
    generation: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    closing: bool = False

    async def replace(self, applied: dict[str, Any] | None) -> None:
        """Take over an applied control value, None when there is none."""
        self.number = applied["number"] if applied else 0
        self.sources = dict(applied["sources"]) if applied else {}
        await self._ring()

    async def ask_marks(self, group: str, label: str) -> list[MarkRequest]:
        """Ask for a mark on every stream of a group."""
        asked = [
            MarkRequest(randomness.token_hex(8), source["stream"], address, label)
            for address, source in sorted(self.sources.items())
            if address.split("/")[0] == group
        ]
        self.marks.update({mark.id: mark for mark in asked})
        await self._ring()
        return asked

    def marks_done(self, ids: list[str]) -> None:
        for mark in ids:
            if mark in self.marks:
                self.marks[mark].done = True

    async def wait(self, generation: int, seconds: float) -> None:
        """Return once the generation is another than the one given, or the time is over."""
        async with self.changed:
            try:
                await asyncio.wait_for(
                    self.changed.wait_for(lambda: self.closing or self.generation != generation), seconds
                )
            except TimeoutError:
                pass

    async def release(self) -> None:
        """Let everyone go who waits, now and from now on: the node stops."""
        async with self.changed:
            self.closing = True
            self.changed.notify_all()

    def for_host(self, host: str) -> dict[str, Any]:
        """{generation, sources, marks} as the agent of that host gets them."""
        mine = {address: source for address, source in self.sources.items() if address.split("/")[1] == host}
        streams = {source["stream"] for source in mine.values()}
        return {
            "generation": self.generation,
            "sources": [_for_agent(address, source) for address, source in sorted(mine.items())],
            "marks": [
                {"id": mark.id, "stream": mark.stream, "label": mark.label}
                for mark in self.marks.values()
                if mark.stream in streams and not mark.done
            ],
        }

    def owner(self, stream: str) -> tuple[str, dict[str, Any]] | None:
        """The address and the source that a stream belongs to by the applied policies."""
        for address, source in self.sources.items():
            if source["stream"] == stream:
                return address, source
        return None

    async def _ring(self) -> None:
        async with self.changed:
            self.generation += 1
            self.changed.notify_all()


def _for_agent(address: str, source: dict[str, Any]) -> dict[str, Any]:
    ignored = [entry["path"] for entry in source.get("ignore", ())]
    return {
        "stream": source["stream"],
        "address": address,
        "kind": source["kind"],
        "paths": source["paths"],
        "exclude": [*source["exclude"], *ignored],
        "settings": source.get("settings", {}),
        "rpo_seconds": parse_duration(source["rpo"]) / 1e6,
    }
