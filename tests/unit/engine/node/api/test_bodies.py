"""Bodies within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request

from engine.model.errors import BcsError
from engine.node.api.bodies import Bodies, Busy, TooLarge, TooSlow
from engine.node.callers.caller import Caller


def request(
    chunks: Sequence[bytes], *, declared: str | None = None, stalls: bool = False, served: list[int]
) -> Request:
    """A request whose chunks come one by one; `served` counts them. One that stalls never ends."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left and stalls:
            await asyncio.Event().wait()
        chunk = left.pop(0) if left else b""
        served.append(len(chunk))
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or stalls}

    headers = [(b"content-length", declared.encode())] if declared is not None else []
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def read(bodies: Bodies, given: Request, bytes_max: int = 100) -> bytes:
    async with bodies.whole(given, bytes_max) as body:
        return bytes(body)


def outcome(bodies: Bodies, given: Request, bytes_max: int = 100) -> bytes | type[BcsError]:
    try:
        return asyncio.run(read(bodies, given, bytes_max))
    except BcsError as error:
        return type(error)
    finally:
        assert bodies.held_bytes == 0


@pytest.mark.parametrize(
    ("chunks", "declared", "expected", "served"),
    [
        ([b"ab", b"cd"], None, b"abcd", 2),
        ([b""], "0", b"", 1),
        ([b"x" * 100], "100", b"x" * 100, 1),
        ([b"x" * 101], "101", TooLarge, 0),
        ([b"x"], "9" * 18, TooLarge, 0),
        ([b"x" * 60] * 9, None, TooLarge, 2),  # no further chunk is asked for
        ([b"x" * 60] * 9, "60", TooLarge, 2),  # whatever was declared
        ([b"x"], "nonsense", b"x", 1),
    ],
)
def test_sizes(chunks: list[bytes], declared: str | None, expected: Any, served: int) -> None:
    seen: list[int] = []
    assert outcome(Bodies(), request(chunks, declared=declared, served=seen)) == expected
    assert len(seen) == served


def test_who_stalls_loses_the_turn() -> None:
    given = request([b"x"], stalls=True, served=[])
    assert outcome(Bodies(idle_seconds=0.05), given) is TooSlow


def test_slow_but_steady_is_fine() -> None:
    async def scene() -> None:
        async def receive() -> dict[str, Any]:
            nonlocal left
            await asyncio.sleep(0.1)
            left -= 1
            return {"type": "http.request", "body": b"x", "more_body": left > 0}

        left = 6
        given, given_again = (
            Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive) for _ in range(2)
        )
        assert await read(Bodies(idle_seconds=0.4, bytes_a_second_min=1), given) == b"x" * 6
        left = 60
        with pytest.raises(TooSlow):  # a drop now and then
            await read(Bodies(idle_seconds=0.4), given_again)
        assert left > 40

    asyncio.run(scene())


def test_a_stop_sends_home_who_is_not_done_and_who_comes() -> None:
    async def scene() -> None:
        bodies = Bodies()
        waiting = [asyncio.create_task(read(bodies, request([b"x"], stalls=True, served=[]))) for _ in range(3)]
        while bodies.held_bytes < 3:
            await asyncio.sleep(0)
        bodies.stop()
        assert [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == [Busy] * 3
        with pytest.raises(Busy):
            await read(bodies, request([b"x"], served=[]))
        bodies.stop()

    asyncio.run(scene())


def test_what_all_hold_together_is_bounded_and_one_alone_always_gets_in() -> None:
    async def scene() -> None:
        bodies = Bodies(held_bytes_max=100)
        async with bodies.whole(request([b"x" * 90], declared="90", served=[]), 1000):
            for declared in ("20", None):
                with pytest.raises(Busy):
                    await read(bodies, request([b"x" * 20], declared=declared, served=[]))
            assert await read(bodies, request([b"x" * 10], served=[])) == b"x" * 10
            assert bodies.held_bytes == 90
        assert len(await read(bodies, request([b"x" * 60] * 5, served=[]), 1000)) == 300

    asyncio.run(scene())


def test_no_sender_takes_the_room_of_all() -> None:
    def of(caller: Caller, count: int) -> Request:
        given = request([b"x" * count], declared=str(count), served=[])
        given.scope["caller"] = caller
        return given

    async def scene() -> None:
        bodies = Bodies(held_bytes_max=100)
        greedy, other = (Caller("agent", name, "192.0.2.1:5", name) for name in ("greedy", "other"))
        async with bodies.whole(of(greedy, 45), 1000):
            with pytest.raises(Busy, match="agent greedy"):
                await read(bodies, of(greedy, 6))
            assert len(await read(bodies, of(other, 45))) == 45
            assert len(await read(bodies, of(Caller("local", "root", ""), 50))) == 50
        assert len(await read(bodies, of(greedy, 50))) == 50

    asyncio.run(scene())
