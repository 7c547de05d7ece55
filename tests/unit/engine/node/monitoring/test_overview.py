"""The status of a site out of a node's parts: hosts that never came, that fell silent, that a restart forgot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.model.times import DAY, SECOND, format_time
from engine.node.monitoring.hosts import Certified
from engine.node.monitoring.overview import site_status
from tests.nodes import InProcessNode, Writer, apply, file_of, in_process_node, source
from tests.unit.engine.node.conftest import TurnedClock


def report(node: InProcessNode, writer: Writer, through_at: int, **more: Any) -> None:
    body = {"sources": [{"stream": writer.stream, "state": "protected", "through_at": through_at}], "generation": 1}
    answer = node.call("POST", f"/v1/agents/{writer.host}/status", {**body, "version": "0.1.0", **more})
    assert answer.status == 200, answer.text


def protected(node: InProcessNode, clock: TurnedClock, host: str = "h1", group: str = "g") -> Writer:
    writer = Writer(node, f"{group}/{host}/files", host=host).protect()
    writer.send(file_of(b"x", kind="baseline", at=clock.at - SECOND))
    report(node, writer, clock.at, clock_skew=-1500)
    return writer


def host(node: InProcessNode, name: str) -> dict[str, Any]:
    return next(each for each in site_status(node.parts)["hosts"] if each["host"] == name)


def test_a_site_of_which_one_host_never_came(node: InProcessNode, clock: TurnedClock) -> None:
    protected(node, clock)
    begun = clock.at
    apply(node, source("g/h2/files"))
    clock.at += SECOND
    found = node.call("GET", "/v1/status").json
    assert found["answer"] == (
        f"1 of 2 sources is not protected: g/h2/files (its agent never came since {format_time(begun)})"
    )
    assert found["summary"]["conditions"] == {"protected": 1, "never-seen": 1}
    h1, h2 = found["hosts"]
    assert (h1["state"], h1["version"], h1["clock_skew_seconds"]) == ("healthy", "0.1.0", -0.002)
    assert (h2["state"], h2["since"], h2["heard_at"]) == ("never-seen", format_time(begun), None)


def test_the_journal_remembers_over_a_restart(tmp_path: Path, clock: TurnedClock) -> None:
    home = tmp_path / "home"
    with in_process_node(home, clock) as node:
        writer = protected(node, clock)
        heard, begun = clock.at, clock.at
        apply(node, source("g/h2/files"))
        clock.at += 90 * SECOND
        apply(node, source("g/h3/files"))  # policies that go on naming h2
        writer.send(file_of(b"y", at=clock.at - SECOND))
    clock.at += 100 * SECOND
    with in_process_node(home, clock) as node:
        assert host(node, "h1")["state"] == "silent"
        assert format_time(heard) <= host(node, "h1")["since"] <= format_time(heard + 90 * SECOND)
        assert (host(node, "h2")["state"], host(node, "h2")["since"]) == ("never-seen", format_time(begun))
        assert host(node, "h3")["since"] == format_time(begun + 90 * SECOND)
        apply(node, source("g/h3/files", rpo="1m"))
        assert host(node, "h3")["since"] == format_time(begun + 90 * SECOND)
        writer.node = node
        report(node, writer, clock.at)
        assert host(node, "h1")["state"] == "healthy"


def test_refused_is_more_than_silent(node: InProcessNode, clock: TurnedClock) -> None:
    protected(node, clock)
    node.parts.certified = lambda: {"h1": Certified("0a", clock.at + DAY, revoked_at=begun)}
    begun = clock.at
    assert host(node, "h1")["state"] == "healthy"
    clock.at += 6 * SECOND
    assert (host(node, "h1")["state"], host(node, "h1")["since"]) == ("refused", format_time(begun))
    assert "its host is refused" in site_status(node.parts)["answer"]


def test_who_may_see_some_groups_sees_their_hosts_and_no_others(node: InProcessNode, clock: TurnedClock) -> None:
    protected(node, clock, "h1", "finance")
    protected(node, clock, "h2", "web")
    node.call("POST", "/v1/agents/h9/hello", {"version": "x"})
    found = site_status(node.parts, lambda group: group == "web")
    assert [group["name"] for group in found["groups"]] == ["web"]
    assert [each["host"] for each in found["hosts"]] == ["h2"]
    assert found["answer"] == "The only source is protected"
    assert [each["host"] for each in site_status(node.parts)["hosts"]] == ["h1", "h2", "h9"]


def test_a_host_that_was_removed_is_not_amiss(node: InProcessNode, clock: TurnedClock) -> None:
    for name in ("gone", "spare"):
        node.call("POST", f"/v1/agents/{name}/hello", {"version": "x"})
    body = {"base": 0, "documents": {}, "sources": {}, "agents": ["spare"], "by": "a test"}
    assert node.call("POST", "/v1/policies", body).status == 201
    revoked = Certified("0a", clock.at + DAY, revoked_at=clock.at + SECOND)
    clock.at += 9 * SECOND
    node.parts.certified = lambda: {"gone": revoked, "spare": revoked}
    assert [(each["host"], each["state"]) for each in site_status(node.parts)["hosts"]] == [("spare", "refused")]


def test_a_host_that_has_an_agent_and_no_sources(node: InProcessNode) -> None:
    body = {"base": 0, "documents": {}, "sources": {}, "agents": ["spare"], "by": "a test"}
    assert node.call("POST", "/v1/policies", body).status == 201
    assert (host(node, "spare")["state"], host(node, "spare")["sources"]) == ("never-seen", 0)
    node.call("POST", "/v1/agents/spare/status", {"sources": [], "generation": 1})
    assert host(node, "spare")["state"] == "healthy"


def test_a_skew_that_is_no_number_is_refused(node: InProcessNode) -> None:
    body = {"sources": [], "generation": 1, "clock_skew": "much"}
    assert node.call("POST", "/v1/agents/h1/status", body).status == 400
