"""What a node's answers mean for each agent, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.env import credentials
from engine.env.credentials import Credential
from engine.model.errors import Refused, Unreachable
from engine.model.times import DAY, SECOND, format_time
from engine.plan.observed import ABSENT, EXPIRED, NEVER_SEEN, REVOKED, RUNNING, SILENT, AgentSeen
from engine.reconcile.observe_site import agents_seen, observe_site, refuse_strange

NOW = 1_800_000_000 * SECOND
RECENT, NOON = NOW - SECOND, NOW - 3600 * SECOND


def certificate(**changes: Any) -> dict[str, Any]:
    """A row of GET /v1/certificates."""
    return {"host": "h", "not_after": NOW + DAY, "revoked": False, "revoked_at": None, **changes}


def row(heard_at: int | None, **changes: Any) -> dict[str, Any]:
    """A row of the hosts of GET /v1/status."""
    heard = format_time(heard_at) if heard_at is not None else None
    return {"host": "h", "version": "1.0", "settings": "a", "heard_at": heard, **changes}


UNKNOWN = certificate(not_after=None, revoked=True, revoked_at=NOON)
CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], int | None, AgentSeen | None]] = {
    # name: certificates, hosts, since when policies name the host, what is seen
    "nothing": ([], [], None, None),
    "named by policies, never seen": ([], [row(None, version="", settings="")], None, None),
    "let in, not heard of": ([certificate()], [row(None, version="", settings="")], None, AgentSeen(NEVER_SEEN)),
    "reports": ([certificate()], [row(RECENT)], None, AgentSeen(RUNNING, "1.0", settings="a")),
    "silent": ([certificate()], [row(NOON)], None, AgentSeen(SILENT, "1.0", format_time(NOON), "a")),
    "silent, and the node has started since": ([], [row(NOON)], None, AgentSeen(SILENT, "1.0", format_time(NOON), "a")),
    "expired": (
        [certificate(not_after=NOON)],
        [row(NOON)],
        None,
        AgentSeen(EXPIRED, "1.0", format_time(NOON)),
    ),
    "revoked by hand": (
        [certificate(revoked=True, revoked_at=NOON)],
        [row(RECENT)],
        NOON - SECOND,
        AgentSeen(REVOKED, "1.0", format_time(NOON)),
    ),
    "revoked by hand, and the node has started since": (
        [UNKNOWN], [], NOON - SECOND, AgentSeen(REVOKED, "", format_time(NOON)),
    ),
    "removed, and nothing names it": ([UNKNOWN], [row(NOON)], None, None),
    "removed, and named again later": ([UNKNOWN], [row(NOON)], NOON + SECOND, None),
    "let in again after a revocation": (
        [certificate(revoked_at=NOON)], [row(RECENT)], NOON - SECOND, AgentSeen(RUNNING, "1.0", settings="a"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_seen_of_an_agent(name: str) -> None:
    certificates, rows, since, seen = CASES[name]
    found = agents_seen(certificates, rows, NOW, {"h": since} if since is not None else {})
    assert found == ({"h": seen} if seen else {})


def test_a_site_without_credentials_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("BCS_URL", raising=False)
    assert credentials.read("sf") is None
    found = observe_site("sf")
    assert (found.site, found.number, found.node.state, found.known) == ("sf", 0, ABSENT, True)
    assert found.version and found.node_version


def test_another_authority_is_no_silence() -> None:
    credential = Credential("sf", ("https://n1:8440",), "pem")
    refuse_strange("sf", credential, Unreachable("connection refused"))
    with pytest.raises(Refused, match="what answers at https://n1:8440 is not the site sf"):
        refuse_strange("sf", credential, Unreachable("x", details={"untrusted": True}))
