"""Enrolment, renewal and revocation of hosts' certificates, over HTTP."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.identity.authority import Issued
from engine.model.errors import BcsError
from engine.model.times import format_time
from engine.node.api import fields
from engine.node.api.agents import host_of
from engine.node.api.web import Answer, answering, read_json
from engine.node.callers.access import AGENT, NOBODY, allow, caller_of, who, with_origin
from engine.node.callers.certificates import ENROLMENT_SECONDS, ENROLMENT_SECONDS_MAX, Certificates, none_here
from engine.node.parts import Parts

REQUEST_BYTES_MAX = 64 << 10
"""Strangers may send this: there is little to send."""
_HOST_CHARS = 253
_TEXT_CHARS = 16 << 10


def routes(parts: Parts) -> list[Route]:
    """The routes, bound to the node's parts. Refused where the node has no authority."""

    async def enrolments(request: Request) -> Response:
        body = await read_json(request, parts.bodies, REQUEST_BYTES_MAX)
        host = fields.label(body, "host", chars_max=_HOST_CHARS)
        seconds = fields.whole(body, "seconds", ENROLMENT_SECONDS, low=1, high=ENROLMENT_SECONDS_MAX)
        token, expires_at = await asyncio.to_thread(_certificates(parts).enrolment, host, seconds, who(request))
        details = with_origin(request, {"host": host, "expires_at": format_time(expires_at)})
        await asyncio.to_thread(parts.audit.act, "enrolment", who(request), details)
        return Answer({"token": token, "expires_at": expires_at, "known": _is_known(parts, host)}, 201)

    async def enrol(request: Request) -> Response:
        body = await read_json(request, parts.bodies, REQUEST_BYTES_MAX)
        host = fields.label(body, "host", chars_max=_HOST_CHARS)
        token, asked = fields.text(body, "token", chars_max=200), fields.text(body, "csr", chars_max=_TEXT_CHARS)
        certificates = _certificates(parts)
        try:
            issued = await asyncio.to_thread(certificates.enrol, token, host, asked)
        except BcsError as error:
            details = with_origin(request, {"host": host, "error": error.message})
            await asyncio.to_thread(parts.audit.refusal, "enrol-refused", f"host {host}", details, error.code)
            raise
        return await _answer(parts, request, certificates, host, issued, "enrolled")

    async def renew(request: Request) -> Response:
        host = host_of(request)
        body = await read_json(request, parts.bodies, REQUEST_BYTES_MAX)
        asked = fields.text(body, "csr", chars_max=_TEXT_CHARS)
        certificates = _certificates(parts)
        issued = await asyncio.to_thread(certificates.renew, host, asked, caller_of(request).not_before)
        return await _answer(parts, request, certificates, host, issued, "renewed")

    async def revoke(request: Request) -> Response:
        body = await read_json(request, parts.bodies, REQUEST_BYTES_MAX)
        host = fields.label(body, "host", chars_max=_HOST_CHARS)
        known = _is_known(parts, host)
        at = await asyncio.to_thread(_certificates(parts).revoke, host, who(request))
        details = with_origin(request, {"host": host, "issued_until": format_time(at)})
        await parts.desired.news()  # whoever waits for an answer has it now: that it was revoked
        await asyncio.to_thread(parts.audit.act, "certificates-revoked", who(request), details)
        return Answer({"host": host, "revoked_at": at, "known": known}, 201)

    async def ca(request: Request) -> Response:
        return Answer({"ca": _certificates(parts).authority.pem, "site": parts.settings.site})

    async def certificates(request: Request) -> Response:
        return Answer({"certificates": listed(parts, _certificates(parts)), "site": parts.settings.site})

    return [
        Route("/v1/ca", answering(allow(NOBODY, ca)), methods=["GET"]),
        Route("/v1/enrolments", answering(allow("admin", enrolments)), methods=["POST"]),
        Route("/v1/enrol", answering(allow(NOBODY, enrol)), methods=["POST"]),
        Route("/v1/agents/{host}/certificate", answering(allow(AGENT, renew)), methods=["POST"]),
        Route("/v1/certificates/revoke", answering(allow("admin", revoke)), methods=["POST"]),
        Route("/v1/certificates", answering(allow("admin", certificates)), methods=["GET"]),
    ]


def listed(parts: Parts, certificates: Certificates) -> list[dict[str, object]]:
    """The newest certificate of each host that this node knows of, and hosts of which one was revoked. Times in
    microseconds, null where there is none."""
    revoked = certificates.revoked()
    known = {each.host: each for each in certificates.known()}
    rows: list[dict[str, object]] = []
    for host in sorted({*known, *revoked}):
        agent = parts.agents.get(host)
        newest = known.get(host)
        rows.append(
            {
                "host": host,
                "serial": newest.serial if newest else None,
                "not_before": newest.not_before if newest else None,
                "not_after": newest.not_after if newest else None,
                "revoked": newest is None or newest.issued_at <= revoked.get(host, 0),
                "revoked_at": revoked.get(host),
                "heard_at": agent.heard_at if agent else None,
            }
        )
    return rows


def _is_known(parts: Parts, host: str) -> bool:
    """Whether anything says that there is such a host: a policy, an agent, a certificate."""
    return host in parts.agents or host in parts.desired.agents or host in _certificates(parts).certified()


async def _answer(
    parts: Parts, request: Request, certificates: Certificates, host: str, issued: Issued, how: str
) -> Response:
    """The certificate, once it is in the audit stream that it was issued."""
    details = {"host": host, "serial": issued.serial, "not_after": format_time(issued.not_after), "how": how}
    by = f"agent {caller_of(request).host}" if how == "renewed" else f"host {host}"
    await asyncio.to_thread(parts.audit.act, "certificate-issued", by, with_origin(request, details))
    return Answer({"certificate": issued.pem, "ca": certificates.authority.pem, "not_after": issued.not_after}, 201)


def _certificates(parts: Parts) -> Certificates:
    if parts.certificates is None:
        raise none_here()
    return parts.certificates
