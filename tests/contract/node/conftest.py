"""Nodes that the contract is tested with. Tests of processes alone have fixtures of their own under the same names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes import HOST, Node, Writer, in_process_node, process_node


@pytest.fixture(scope="module", params=["process", "in this process"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    home = tmp_path_factory.mktemp("node") / "home"
    home.mkdir()
    with process_node(home) if request.param == "process" else in_process_node(home) as node:
        yield node


@pytest.fixture
def writer(node: Node, request: pytest.FixtureRequest) -> Writer:
    name = str(abs(hash(request.node.name)))
    return Writer(node, f"g{name}/{HOST}/files").protect()
