"""Gaps that are still open, which only a node knows of, and moments of which nobody knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bcsctl.open_gaps import word_of
from bcsctl.output import local_time
from engine.agent.ship.client import HttpNode
from engine.env.clock import SYSTEM
from engine.model.points import Gap
from engine.model.times import format_time
from engine.wire.batch import NO_HASH, BatchBuilder
from tests.embedded import Site

from .conftest import ADDRESS, PlainSite, Run

T, T0 = "2026-11-22T12:00:00.000000Z", 1_795_348_800_000_000
HEALTHY = {"healthy": "healthy", "gap_open_since": None, "through_at": T, "message": ""}


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({}, None),
        ({"healthy": "failing"}, None),
        ({"healthy": "silent"}, Gap(T0, None, "the agent is silent")),
        ({"healthy": "refused"}, Gap(T0, None, "the agent's host is refused")),
        ({"healthy": "never-seen"}, Gap(T0, None, "the node has not heard of the agent since it started")),
        ({"healthy": "never-seen", "through_at": None}, None),
        ({"gap_open_since": T, "through_at": None}, Gap(T0, None, "the agent is catching up")),
        ({"gap_open_since": T, "message": "the spool is full"}, Gap(T0, None, "the spool is full")),
        ({"gap_open_since": T, "gap_open_reason": "agent was killed"}, Gap(T0, None, "agent was killed")),
    ],
)
def test_what_a_row_of_the_status_says(changes: dict[str, Any], gap: Gap | None) -> None:
    row = HEALTHY | changes
    assert word_of(row).gap == gap
    assert word_of(row).through_at == (T0 if row["through_at"] else None)


def test_without_a_node_the_last_point_answers_and_a_doubt_is_told(run: Run, site: PlainSite) -> None:
    late = run("ls", ADDRESS, "--at", "-1m", "--json", home=site.home)
    assert (late.code, late.json["at"]) == (0, format_time(site.third))
    assert "nothing is known after" in late.err
    for moment in ("latest", format_time(site.third + 1_000_000), format_time(site.first)):
        known = run("ls", ADDRESS, "--at", moment, "--json", home=site.home)
        assert (known.code, known.err) == (0, "")


def test_points_are_counted_and_limited(run: Run, site: PlainSite) -> None:
    every = run("points", ADDRESS, "--json", home=site.home).json
    assert (every["count"], len(every["points"])) == (3, 3)
    last = run("points", ADDRESS, "--json", "--limit", "1", home=site.home).json
    assert (last["count"], last["points"]) == (3, every["points"][-1:])
    early = run("points", ADDRESS, "--json", "--to", format_time(site.second), home=site.home).json
    assert (early["count"], len(early["points"]), early["gaps"]) == (2, 2, [])
    assert run("points", ADDRESS, "--json", home=site.home).json["gaps"][0]["to"] is not None


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "home") as site:
        site.start_node()
        yield site


def test_a_silent_agent_is_an_open_gap(run: Run, node: Site, tmp_path: Path) -> None:
    """One point of a minute ago, and no agent: latest answers, the time since then does not."""
    address, at = "docs/localhost/files", SYSTEM.now() - 60_000_000
    (tmp_path / "data").mkdir()
    stream = node.protect(address, tmp_path / "data")
    agent = HttpNode(node.socket)
    agent.open_stream(stream, "localhost", "w", None)
    builder = BatchBuilder(stream, 1, 1, NO_HASH)
    above = 0
    for name in (tmp_path / "data").parts[1:]:
        made = builder.inode(at, None, "d", 0o755, os.getuid(), os.getgid(), 0, at * 1000)
        builder.dentry(at, above, os.fsencode(name), made)
        above = made
    builder.dentry(at, above, b"x", builder.inode(at, None, "f", 0o644, os.getuid(), os.getgid(), 0, at * 1000))
    point = f"1.{builder.mark(at, 'baseline', point_class='quiet')}"
    agent.send(stream, "localhost", builder.encode()[0])
    agent.close()
    shown = run("points", address, "--json").json
    assert [(gap["from"], gap["to"]) for gap in shown["gaps"]] == [(format_time(at), None)]
    assert "the agent is silent" in shown["gaps"][0]["reason"]
    assert "still open" in run("points", address).text
    assert run("cat", f"{address}:/x", "--at", "-10s", "--json").json["error"]["details"] == {
        "before": {"point": point, "at": format_time(at)},
        "after": None,
        "command": f"bcsctl cat {address}:/x --at point:{point}",
    }
    refused = run("restore", address, "--at", "-10s", "--to", tmp_path / "back")
    assert refused.code == 5
    assert "lies in a gap" in refused.err
    assert "lies in a gap" not in run("ls", address).err
    word = f"{address}: the agent is silent since {local_time(at, 6)}: what changed since is not in it"
    missing = {"unseen_since": format_time(at), "unseen_reason": "the agent is silent"}
    restore = ("restore", address, "--to", tmp_path / "back")
    for command in (("ls", address), ("cat", f"{address}:{tmp_path}/data/x"), (*restore, "--dry-run"), restore):
        told = run(*command, "--json")
        assert (told.code, told.err.count(word), {name: told.json[name] for name in missing}) == (0, 1, missing)
    group = run("restore", "docs", "--to", tmp_path / "all")
    assert (group.code, group.err.count(word)) == (0, 1)
    named = run("ls", address, "--at", f"point:{point}", "--json")
    assert (named.code, named.err, missing.keys() & named.json.keys()) == (0, "", set())
