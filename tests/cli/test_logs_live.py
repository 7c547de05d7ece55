"""Logs of a real node and a real agent: a batch bears one id in both, and what became of a source is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.embedded import Site

ADDRESS = "docs/localhost/files"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told_protected(site: Site) -> bool:
    """The node may know before the agent has said it."""
    return f"{ADDRESS}: protected" in (site.home / "agent.log").read_text()


def test_one_id_a_batch_from_agent_to_commit(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Site(tmp_path / "home", {"BCS_LOG": "json", "BCS_LOG_LEVEL": "debug"}) as site:
        site.start()
        site.protect(ADDRESS, tmp_path / "data")
        site.wait_protected(ADDRESS)
        (tmp_path / "data" / "a.txt").write_text("a")
        site.wait(lambda: site.source(ADDRESS)["last_change_at"] is not None, 120, "the change")

        def both() -> bool:
            return bool(sent(lines(site.home / "agent.log")) & committed(lines(site.home / "node.log")))

        site.wait(both, 120, "a batch in both logs")
        site.wait(lambda: told_protected(site), 120, "the agent's line")
        node, agent = lines(site.home / "node.log"), lines(site.home / "agent.log")
    assert all({"time", "level", "process", "message"} <= set(each) for each in (*node, *agent))
    assert {each["process"] for each in node} == {"node"} and {each["process"] for each in agent} == {"agent"}
    here = {each["batch"] for each in node if each["message"] == "batch here"}
    assert committed(node) <= here and sent(agent) <= here
    commits = {batch for each in node if each["message"] == "commit durable" for batch in each["batches"].split(",")}
    assert committed(node) <= commits
    assert all(len(batch) == 16 for batch in here)
    told = [each["message"] for each in agent if each["message"].startswith(ADDRESS)]
    assert f"{ADDRESS}: protected" in told


def test_without_debug_a_log_is_short_and_for_people(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with Site(tmp_path / "home") as site:
        site.start()
        site.protect(ADDRESS, tmp_path / "data")
        site.wait_protected(ADDRESS)
        for number in range(5):
            (tmp_path / "data" / f"{number}.txt").write_text("a")
        site.wait(lambda: told_protected(site), 120, "the agent's line")
        agent, node = (site.home / "agent.log").read_text(), (site.home / "node.log").read_text()
    assert f"Z {ADDRESS}: protected" in agent
    assert len(agent.splitlines()) < 12 and len(node.splitlines()) < 12
    assert " debug: " not in agent + node and "{" not in agent + node


def sent(found: list[dict[str, Any]]) -> set[str]:
    return {each["batch"] for each in found if each["message"] == "batch acknowledged"}


def committed(found: list[dict[str, Any]]) -> set[str]:
    return {each["batch"] for each in found if each["message"] == "batch committed"}
