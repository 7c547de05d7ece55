"""What a small change costs on the line, counted outside, between a real agent and a real node over TLS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench.agent_wire import ADDRESS, CHANGE_BYTES_MAX, HOST, PAGE_BYTES, PAGES, hot_pages, row
from tests.bench.wide import agent
from tests.bench.wire import counted
from tests.nodes import apply, source, wait_for
from tests.secured import secured_node

SECONDS = 1.5


@pytest.mark.skipif(os.geteuid() != 0, reason="a packet socket needs root")
def test_hot_pages_cost_about_what_changes_in_them(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pages").write_bytes(os.urandom(PAGE_BYTES * PAGES))
    with secured_node(tmp_path / "site") as node, counted(node.port) as line:
        apply(node, source(ADDRESS, str(tree)))
        with agent(tmp_path / HOST, HOST, node, node.port):
            wait_for(lambda: row(node)["protected"] == "protected", 120, "the host to be protected")
            both, to_node, from_node = (figure.value for figure in hot_pages(node, line, tree / "pages", SECONDS))
    assert both == pytest.approx(to_node + from_node)
    assert 100 < both < 2 * CHANGE_BYTES_MAX  # a page of 8 KiB sent whole would be twenty times that
