"""Idle and busy agents at once on one node: what was acknowledged is read back. What `make bench` times, untimed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.agents import Scenario, Simulated, agents_of, node_at, protect
from tests.bench.simulated import digests
from tests.nodes import Writer, files_in, held_by_stream

CROWD = Scenario("crowd", small=3, random=1, text=1, idle=20, small_events=16, small_events_a_second=500, data_frames=2)
SECONDS = 2.0


@pytest.mark.parametrize("tls", [False, True], ids=["socket", "TLS"])
def test_what_a_crowd_of_agents_had_acknowledged_is_there(tmp_path: Path, tls: bool) -> None:
    agents = agents_of(CROWD)
    with node_at(tmp_path, tls=tls) as node:
        protect(node, agents)
        simulated = Simulated(node, agents, SECONDS, processes=2, with_files=True)
        try:
            simulated.begin()
            told = simulated.results()
        finally:
            simulated.end()
        heard = set(node.site.request("GET", "/v1/health")["agents"])
    busy = [result for each in told for result in each["busy"]]
    assert [error for each in (*busy, *(each["idle"] for each in told)) for error in each.get("errors", ())] == []
    assert sum(each["idle"]["reports"] for each in told) >= CROWD.idle
    assert {each["host"] for each in agents.idle} <= heard
    assert {result["kind"] for result in busy} == {"small", "random", "text"}
    held = held_by_stream(tmp_path)
    for result in busy:
        writer = Writer(node, result["address"], result["host"])
        writer.epoch = result["epoch"]
        assert result["lsn"] > 0 and max(run.lsn_last for run in held[writer.stream]) == result["lsn"], result
        assert digests(files_in(tmp_path, writer)) == result["files"]
