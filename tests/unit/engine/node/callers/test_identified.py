"""Who asks is looked at again when the answer is given, part by part."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.env.clock import SYSTEM
from engine.node.callers.identified import identified
from engine.node.callers.users import User

HEAD: Message = {"type": "http.response.start", "status": 200, "headers": []}


class Tokens:
    """One token, until it is revoked."""

    holds = True

    def who(self, text: str) -> User | None:
        return User("olga", "t") if text == "secret" and self.holds else None


def asked(application: ASGIApp, tokens: Tokens) -> list[Message]:
    """What is sent in answer to a request with the token."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": [(b"authorization", b"Bearer secret")]}
    served = identified(application, None, tokens.who, lambda *told: None, SYSTEM)
    asyncio.run(served(scope, receive, send))  # type: ignore[arg-type]
    return sent


@pytest.mark.parametrize("revoked_at", [0, 1, 2, 9])
def test_a_token_that_is_revoked_meanwhile_gets_no_more(revoked_at: int) -> None:
    """Revoked before the head, before the first part, before the second, not at all."""
    tokens, went_on = Tokens(), []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["caller"].name == "olga"
        parts: list[Message] = [HEAD, *({"type": "http.response.body", "body": b"x", "more_body": True},) * 2]
        for number, part in enumerate(parts):
            tokens.holds = number < revoked_at
            await send(part)
            went_on.append(number)
        await send({"type": "http.response.body", "body": b""})

    sent = asked(application, tokens)
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    if revoked_at == 0:
        assert sent[0]["status"] == 401 and b"counts no more" in bodies[0] and went_on == []
        return
    assert sent[0]["status"] == 200
    assert b"".join(bodies) == b"x" * min(revoked_at - 1, 2) and bodies[-1] == b""
    assert went_on == list(range(min(revoked_at, 3)))


def test_faults_of_the_application_are_still_seen() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asked(application, Tokens())
