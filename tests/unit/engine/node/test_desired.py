"""What agents are to protect, and the bell."""

from __future__ import annotations

import asyncio
import math

import pytest

from engine.node.desired import MARKS_KEPT, Desired, bounded, first_generation
from tests.nodes import source


def applied(number: int, *addresses: str) -> dict[str, object]:
    return {"number": number, "sources": {address: source(address) for address in addresses}}


async def begun(*addresses: str) -> Desired:
    desired = Desired()
    desired.begin(3, applied(1, *addresses))
    return desired


@pytest.mark.parametrize("change", ["apply", "mark", "stop"])
def test_who_waits_is_told_at_once(change: str) -> None:
    async def scene() -> None:
        desired = await begun("g/h/a")
        waiting = asyncio.create_task(desired.wait(desired.generation, 60))
        await asyncio.sleep(0)
        if change == "apply":
            await desired.replace(applied(2))
        elif change == "mark":
            await desired.ask_marks("g", "x")
        else:
            await desired.release()
        await asyncio.wait_for(waiting, 120)

    asyncio.run(scene())


def test_who_has_the_newest_waits_and_who_has_not_does_not() -> None:
    async def scene() -> None:
        desired = await begun("g/h/a")
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        await desired.wait(desired.generation, 0.2)
        assert loop.time() - begun_at >= 0.19
        for generation in (-1, 0, desired.generation - 1, desired.generation + 1, first_generation(2)):
            await asyncio.wait_for(desired.wait(generation, 60), 5)

    asyncio.run(scene())


def test_an_older_apply_that_comes_late_changes_nothing() -> None:
    async def scene() -> None:
        desired = await begun()
        await desired.replace(applied(3, "g/h/new"))
        await desired.replace(applied(2, "g/h/old"))
        assert (desired.number, list(desired.sources)) == (3, ["g/h/new"])

    asyncio.run(scene())


def test_a_mark_changes_the_generation_but_not_that_of_the_sources() -> None:
    async def scene() -> None:
        desired = await begun("g/h/a")
        before = desired.sources_generation
        await desired.ask_marks("g", "x")
        assert desired.generation > before == desired.sources_generation
        await desired.replace(applied(2, "g/h/a"))
        assert desired.generation == desired.sources_generation

    asyncio.run(scene())


def test_generations_of_boots_do_not_meet() -> None:
    assert first_generation(4) - first_generation(3) > 1 << 20
    assert first_generation(1 << 28) < 1 << 53


def test_unknown_groups_get_no_marks_and_ring_no_bell() -> None:
    async def scene() -> None:
        desired = await begun("g/h/a")
        before = desired.generation
        assert await desired.ask_marks("unknown", "x") == []
        assert desired.generation == before

    asyncio.run(scene())


def test_marks_are_forgotten_oldest_first() -> None:
    async def scene() -> None:
        desired = await begun("g/h/a")
        first = (await desired.ask_marks("g", "first"))[0]
        for number in range(MARKS_KEPT):
            await desired.ask_marks("g", str(number))
        assert len(desired.marks) == MARKS_KEPT
        assert first.id not in desired.marks

    asyncio.run(scene())


@pytest.mark.parametrize(("asked", "given"), [(5, 5), (-1, 0), (61, 60), (math.nan, 0), (math.inf, 60), (-math.inf, 0)])
def test_waits_are_bounded(asked: float, given: float) -> None:
    assert bounded(asked, 60) == given


def test_owners() -> None:
    async def scene() -> None:
        desired = await begun("g/h/a", "g/other/a")
        stream = source("g/h/a")["stream"]
        assert desired.owner(stream, "h") == "g/h/a"
        assert desired.owner(stream, "other") is None
        assert desired.owner("0123456789abcdef", "h") is None
        await desired.replace(applied(2))
        assert desired.owner(stream, "h") is None

    asyncio.run(scene())


def test_agents_are_told_what_they_may_use_by_their_own_site() -> None:
    async def scene() -> None:
        desired = Desired(site="sf")
        spec = {"agent": {"bandwidth": "5MiB/s"}}
        first = applied(1, "g/h/a") | {"documents": {"Site/sf": {"spec": spec}, "Site/boston": {"spec": {}}}}
        desired.begin(3, first)
        told = desired.for_host("h")["agent"]
        assert told["bandwidth"] == [{"bytes_a_second": 5 << 20, "begins": 0, "ends": 1440, "days": ()}]
        generation = desired.generation
        await desired.replace(applied(2, "g/h/a"))
        assert desired.generation > generation and desired.for_host("h")["agent"]["bandwidth"] == []

    asyncio.run(scene())
