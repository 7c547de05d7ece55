"""What a node's answers mean for each agent, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.env import credentials
from engine.env.clock import Clock
from engine.env.credentials import Credential
from engine.env.endpoint import Endpoint, UnixEndpoint
from engine.model.errors import Refused, Unreachable
from engine.model.times import DAY, SECOND, format_time
from engine.plan.observed import ABSENT, EXPIRED, NEVER_SEEN, OVERDUE, REVOKED, RUNNING, SILENT, AgentSeen, Observed
from engine.reconcile import observe_site as observing
from engine.reconcile.observe_site import agents_seen, observe_node, observe_site, refuse_strange

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
    "overdue": ([certificate()], [row(NOW - 6 * SECOND)], None, AgentSeen(OVERDUE, "1.0", settings="a")),
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


class Turned(Clock):
    """Sleeping moves it, and nothing else does."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.mark.parametrize(
    ("back_after_seconds", "state", "at_most_seconds"), [(None, SILENT, 10.5), (3.0, RUNNING, 3.5), (0.0, RUNNING, 0.0)]
)
def test_an_overdue_agent_is_waited_for_until_it_is_heard_or_silent(
    monkeypatch: pytest.MonkeyPatch, back_after_seconds: float | None, state: str, at_most_seconds: float
) -> None:
    """Its host has been lost and is back already: a plan made at once would find that nothing is to be done."""
    clock = Turned()

    def answer(_endpoint: Endpoint, _method: str, path: str, **_: Any) -> dict[str, Any]:
        now = NOW + int(clock.slept * SECOND)
        back = back_after_seconds is not None and clock.slept >= back_after_seconds
        answers: dict[str, dict[str, Any]] = {
            "/v1/health": {"version": "1.0"},
            "/v1/policies/latest": {"number": 1, "agents": ["h"]},
            "/v1/certificates": {"certificates": [certificate()]},
            "/v1/status": {"at": format_time(now), "hosts": [row(now if back else NOW - 6 * SECOND)]},
        }
        return answers[path]

    monkeypatch.setattr(observing, "request_json", answer)
    found = observe_node(Observed(site="sf"), UnixEndpoint(Path("unused")), clock)
    assert found.agents["h"].state == state
    assert clock.slept <= at_most_seconds
