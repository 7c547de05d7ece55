"""Before any route: who asks. A certificate must still hold at every request, on connections that are open too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from engine.env.clock import Clock
from engine.model.errors import Unauthenticated
from engine.model.times import format_time
from engine.node.caller import NOBODY, Caller
from engine.node.certificates import AGAIN, Certificates, readmit
from engine.node.web import error_response

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
    are answered 401 and reach nothing. `who` tells whom a bearer's token stands for."""

    async def found(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            state = scope.get("state") or {}
            caller: Caller = state.get("caller", NOBODY)
            if caller.serial and certificates is not None:
                error = _ended(caller, state.get("not_after", 0), certificates, clock.now())
                if error is not None:
                    kind = str(error.details["kind"])
                    details = {"from": caller.address, "serial": caller.serial, "error": error.message}
                    refuse(WHAT, f"{caller.kind} {caller.name}", kind, details)
                    response = error_response(error)
                    response.headers["connection"] = "close"
                    await response(scope, receive, send)
                    return
            elif caller.kind == "nobody":
                caller = _bearer(caller, scope, who)
            scope["caller"] = caller
        await application(scope, receive, send)

    return found


def _ended(caller: Caller, not_after: int, certificates: Certificates, now: int) -> Unauthenticated | None:
    if caller.kind == "agent" and caller.not_before <= certificates.revoked_at(caller.host):
        why, kind, hint = "was revoked", "revoked", readmit(caller.host)
    elif not_after <= now:
        why, kind, hint = f"ended at {format_time(not_after)}", "expired", AGAIN
    else:
        return None
    return Unauthenticated(f"the certificate of {caller.kind} '{caller.name}' {why}", hint=hint, details={"kind": kind})


def _bearer(caller: Caller, scope: Scope, who: Callable[[str], User | None]) -> Caller:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
            user = who(value[len(_BEARER) :].decode("ascii", "replace").strip())
            return replace(caller, kind="user", name=user.name, token=user.token) if user else caller
    return caller
