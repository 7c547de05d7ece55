"""Commands with a node running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded import Site

from .conftest import Run


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "home") as site:
        site.start_node()
        yield site


def test_status_and_history_of_a_running_node(run: Run, node: Site, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    node.protect("docs/localhost/files", tmp_path / "data")
    status = run("status", "docs", "--json").json
    assert status["node"]
    [source] = status["groups"][0]["sources"]
    assert (source["healthy"], source["protected"]) == ("never-seen", "unprotected")
    assert "docs/localhost/files" in run("status").text
    assert len(run("history", "--json").json["applied"]) == 1


def test_a_mark_that_no_agent_sets_fails(run: Run, node: Site, tmp_path: Path) -> None:
    node.protect("docs/localhost/files", tmp_path)
    done = run("mark", "docs", "--label", "tonight", "--wait", "0.3", "--json")
    assert done.code == 1
    assert [mark["done"] for mark in done.json["marks"]] == [False]
    assert run("mark", "nobody", "--label", "x").code == 5


def test_down_stops_the_node_and_says_so(run: Run, node: Site) -> None:
    assert node.node is not None
    done = run("down", "--json")
    assert done.code == 0
    assert [stopped["role"] for stopped in done.json["stopped"]] == ["node"]
    assert node.node.wait(10) is not None
    assert run("down").text == "nothing was running\n"
    assert run("mark", "docs", "--label", "x").code == 1
