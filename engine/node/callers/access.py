"""Who may ask what of a node. Every route is made with `allow`, which says what it needs and refuses everybody else.

A refusal goes into the audit stream, rate limited, with who asked what and from where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from engine.model.errors import NotAuthorised, Refused, Unauthenticated
from engine.model.policy.access import ROLES
from engine.node.callers.caller import NOBODY as NOBODY_KNOWN
from engine.node.callers.caller import Caller
from engine.node.callers.users import ADMINS
from engine.plan.access import ALL_RIGHTS, NO_RIGHTS, Rights, Sight, rights_of

if TYPE_CHECKING:
    from engine.node.parts import Parts

AGENT = "agent"
"""The agent of the host that the request names, known by its certificate."""
LOCAL = "local"
"""Whoever may use the node's own Unix socket."""
KNOWN = "known"
"""Anybody who has said who they are."""
NOBODY = "nobody"
"""Everybody, known or not."""
NEEDS = (*ROLES, AGENT, LOCAL, KNOWN, NOBODY)

WHAT = "access-refused"
_PATH_CHARS = 200
ANY = "?"

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class EndpointDecides:
    """The role is needed on one group at least, and the endpoint sees to which: it reads them from the body with
    `need_group`, or shows what `sight` sees and nothing else."""


ITS_GROUPS = EndpointDecides()
GroupOf = Callable[[Request], str] | EndpointDecides
"""Which group a request is about. None where a route is made: the whole site, so the role is needed on every group."""


def allow(needs: str | tuple[str, ...], endpoint: Endpoint, group: GroupOf | None = None) -> Endpoint:
    """The endpoint, for those who have one of `needs` alone: a role, AGENT, LOCAL, KNOWN or NOBODY.

    Who is not known is answered Unauthenticated, who may not NotAuthorised with the role that would be needed. The
    Unix socket's callers may do everything.
    """
    wanted = (needs,) if isinstance(needs, str) else needs
    if not wanted or not set(wanted) <= set(NEEDS):
        raise ValueError(f"{wanted} are no permissions")

    async def guarded(request: Request) -> Response:
        try:
            _admit(request, wanted, group)
            return await endpoint(request)
        except (Unauthenticated, NotAuthorised) as error:
            await record_refusal(request, error)
            raise

    guarded.needs = wanted  # type: ignore[attr-defined]
    return guarded


def caller_of(request: Request) -> Caller:
    """Who asks; the listener has put it there."""
    caller: Caller | None = request.scope.get("caller")
    return caller if caller is not None else NOBODY_KNOWN


def rights_in(request: Request) -> Rights:
    """What the caller may do, by the policies that are applied now."""
    caller = caller_of(request)
    if caller.kind == "local" or (caller.kind == "user" and caller.token.startswith(ADMINS)):
        return ALL_RIGHTS
    if caller.kind != "user":
        return NO_RIGHTS
    return rights_of(parts_of(request).desired.access, user=caller.name, token=caller.token)


def sight(request: Request, role: str) -> Sight:
    """The groups that the caller has the role on."""
    return rights_in(request).sight(role)


def need_group(request: Request, role: str, group: str | None) -> None:
    """For endpoints that learn from the body what they are about. NotAuthorised unless the caller has the role on the
    group, on every group with None. Says the same of a group that is there and of one that isn't."""
    if not rights_in(request).may(role, group):
        raise NotAuthorised(_lacking(request, (role,), group), hint=_HINT)


def need_host(request: Request, host: object) -> None:
    """For endpoints that learn from the body which host speaks. NotAuthorised when the certificate is another's."""
    caller = caller_of(request)
    if caller.kind == "agent" and host != caller.host:
        raise NotAuthorised(f"the certificate of host '{caller.host}' does not speak for '{str(host)[:_PATH_CHARS]}'")


def who(request: Request) -> str:
    """Who asks, in the words that the audit keeps."""
    caller = caller_of(request)
    if caller.kind == "user":
        token = f" (token {caller.token})" if caller.token else ""
        return f"{caller.name}{token}" if caller.name else f"token {caller.token}"
    if caller.kind in ("agent", "node"):
        return f"{caller.kind} {caller.host or caller.name}"
    return caller.name or caller.kind


def with_origin(request: Request, details: Mapping[str, Any]) -> dict[str, Any]:
    """The details of an act, and from where it was asked for."""
    return {**details, "from": caller_of(request).address or "the node's own socket"}


def parts_of(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def record_refusal(request: Request, error: Refused, what: str = WHAT) -> None:
    """Put a refusal into the audit stream, before it is answered."""
    details = {"method": request.method, "path": request.url.path[:_PATH_CHARS], "error": error.message}
    audit = parts_of(request).audit
    await asyncio.to_thread(audit.refusal, what, who(request), with_origin(request, details), error.code)


def _admit(request: Request, wanted: tuple[str, ...], group: GroupOf | None) -> None:
    caller = caller_of(request)
    if NOBODY in wanted or caller.kind == "local":
        return
    if caller.kind == "nobody":
        raise Unauthenticated(
            "nobody knows who asks: there is neither a certificate nor a token that counts",
            hint="`bcsctl login URL` takes a token; it may have ended or been revoked",
        )
    if KNOWN in wanted or (AGENT in wanted and _speaks_for_itself(request, caller)):
        return
    roles = tuple(each for each in wanted if each in ROLES)
    rights = rights_in(request)
    if isinstance(group, EndpointDecides):
        about: str | None = ANY
        allowed = any(map(rights.may_somewhere, roles))
    else:
        about = None if group is None else group(request)
        allowed = any(rights.may(role, about) for role in roles)
    if not allowed:
        raise NotAuthorised(_lacking(request, wanted, about), hint=_HINT)


def _speaks_for_itself(request: Request, caller: Caller) -> bool:
    """Whether an agent asks as the host that its certificate names, wherever the request names one."""
    if caller.kind != "agent" or not caller.host:
        return False
    named = [request.path_params.get("host"), *request.query_params.getlist("host")]
    return all(host == caller.host for host in named if host is not None)


_ACTS = {
    "GET /metrics": "read the metrics",
    "GET /v1/certificates": "list certificates",
    "GET /v1/notifications": "list notifications",
    "GET /v1/policies/latest": "see what was applied, which plan and apply begin with",
    "GET /v1/restores": "list restores",
    "GET /v1/status": "see the status",
    "GET /v1/tokens": "list tokens",
    "POST /v1/certificates/revoke": "revoke certificates",
    "POST /v1/commands": "read from the history",
    "POST /v1/enrolments": "enrol hosts",
    "POST /v1/marks": "set marks",
    "POST /v1/notifications/test": "send test messages",
    "POST /v1/policies": "apply policies",
    "POST /v1/restores": "restore",
    "POST /v1/tokens": "make tokens",
    "POST /v1/tokens/revoke": "revoke tokens",
}
"""What people call what they ask for; the audit keeps method and path beside it. Others are named by these."""
_HINT = "an AccessPolicy gives roles to users and tokens; `bcsctl whoami` shows what you have"


def _lacking(request: Request, wanted: tuple[str, ...], group: str | None) -> str:
    roles = [f"the role {each}" for each in wanted if each in ROLES]
    others = {AGENT: "the certificate of the host's own agent", LOCAL: "the node's own socket"}
    needed = " or ".join([*roles, *(text for each, text in others.items() if each in wanted)])
    if not roles:
        where = ""
    elif group is None:
        where = " on every group"
    else:
        where = " on one group at least" if group == ANY else f" on group '{group[:_PATH_CHARS]}'"
    asked = f"{request.method} {request.url.path[:_PATH_CHARS]}"
    what = _ACTS.get(asked, asked)
    if what == "restore" and "operator" not in wanted:
        what = "restore in place, or onto what stands there"
    return f"{who(request)[:_PATH_CHARS]} may not {what}: it needs {needed}{where}"
