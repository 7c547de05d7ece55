"""Who asks: known by the Unix socket, by a certificate of the site, by a bearer's token, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

Kind = Literal["local", "agent", "node", "user", "nobody"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Stands in `request.scope["caller"]`, put there by the listener before any of our code sees the request.

    `name`: the host's, the node's or the user's, the Unix user of a local one. `address` is `ADDRESS:PORT`, empty
    for a local one. Of a certificate: `host` (agents only), `serial` in hexadecimal, `not_before`, the microsecond at
    which it was issued. `token` is what a user's token is called, never its text.
    """

    kind: Kind
    name: str
    address: str
    host: str = ""
    serial: str = ""
    not_before: int = 0
    token: str = ""


NOBODY = Caller("nobody", "", "")


def with_caller(application: ASGIApp, find: Callable[[Scope], Caller]) -> ASGIApp:
    """The application, every request of which carries the caller that `find` makes out."""

    async def found(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["caller"] = find(scope)
        await application(scope, receive, send)

    return found
