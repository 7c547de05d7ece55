"""Before any route: who asks. A certificate or a token must hold at every request, on connections that are open too,
and still when it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.env.clock import Clock
from engine.model.errors import Unauthenticated
from engine.model.times import format_time
from engine.node.api.web import error_response
from engine.node.callers.caller import NOBODY, Caller
from engine.node.callers.certificates import AGAIN, Certificates, readmit

WHAT = "certificate-refused"
_BEARER = b"bearer "


class User(Protocol):
    """Whom a token stands for."""

    @property
    def name(self) -> str: ...

    @property
    def token(self) -> str: ...


def identified(
    application: ASGIApp,
    certificates: Certificates | None,
    who: Callable[[str], User | None],
    refuse: Callable[[str, str, str, dict[str, Any]], None],
    clock: Clock,
) -> ASGIApp:
    """The application, each of whose requests has `scope["caller"]`. Those whose certificate was revoked or has ended
    are answered 401 and reach nothing; and so when that happens before the answer. `who` tells whom a bearer's token
    stands for."""

    def of_certificate(caller: Caller, not_after: int, known: Certificates) -> Unauthenticated | None:
        error = _ended(caller, not_after, known, clock.now())
        if error is not None:
            details = {"from": caller.address, "serial": caller.serial, "error": error.message}
            refuse(WHAT, f"{caller.kind} {caller.name}", str(error.details["kind"]), details)
        return error

    async def found(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        state = scope.get("state") or {}
        caller: Caller = state.get("caller", NOBODY)
        refusal: Callable[[], Unauthenticated | None] | None = None
        if caller.serial and certificates is not None:
            refusal = partial(of_certificate, caller, state.get("not_after", 0), certificates)
            error = refusal()
            if error is not None:
                await _answer(error, scope, receive, send)
                return
        elif caller.kind == "nobody":
            caller, text = _bearer(caller, scope, who)
            if caller.kind == "user":
                refusal = partial(_of_token, text, who)
        scope["caller"] = caller
        if refusal is None:
            await application(scope, receive, send)
        else:
            await _while_it_holds(application, refusal, scope, receive, send)

    return found


async def _while_it_holds(
    application: ASGIApp, refusal: Callable[[], Unauthenticated | None], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer a request, part by part, as long as nothing is against who asks: an answer may have been waited for, or
    take hours, and what they were may have been revoked meanwhile."""
    cut = False

    async def checked(message: Message) -> None:
        nonlocal cut
        begins = message["type"] == "http.response.start"
        error = refusal() if begins or message.get("more_body") else None
        if error is None:
            await send(message)
            return
        cut = True
        if begins:
            await _answer(error, scope, receive, send)
        else:
            await send({"type": "http.response.body", "body": b""})
        raise _Cut

    try:
        await application(scope, receive, checked)
    except Exception:
        if not cut:
            raise


class _Cut(Exception):
    """Ends whatever makes an answer that nobody may have any more."""


async def _answer(error: Unauthenticated, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(error)
    response.headers["connection"] = "close"
    await response(scope, receive, send)


def _of_token(text: str, who: Callable[[str], User | None]) -> Unauthenticated | None:
    return None if who(text) else Unauthenticated("the token counts no more", hint="`bcsctl login URL` takes another")


def _ended(caller: Caller, not_after: int, certificates: Certificates, now: int) -> Unauthenticated | None:
    if caller.kind == "agent" and caller.not_before <= certificates.revoked_at(caller.host):
        why, kind, hint = "was revoked", "revoked", readmit(caller.host)
    elif not_after <= now:
        why, kind, hint = f"ended at {format_time(not_after)}", "expired", AGAIN
    else:
        return None
    return Unauthenticated(f"the certificate of {caller.kind} '{caller.name}' {why}", hint=hint, details={"kind": kind})


def _bearer(caller: Caller, scope: Scope, who: Callable[[str], User | None]) -> tuple[Caller, str]:
    """Whom a bearer's token stands for, and its text."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            text = value[len(_BEARER) :].decode("ascii", "replace").strip()
            user = who(text)
            return (replace(caller, kind="user", name=user.name, token=user.token), text) if user else (caller, "")
    return caller, ""
