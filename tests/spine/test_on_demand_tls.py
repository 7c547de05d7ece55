"""A tree that a host fills on demand over TLS, with its own certificate: another host's opens nothing of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env.endpoint import request_json
from engine.model.errors import NotAuthorised
from tests import plug
from tests.contract.node.test_agent_over_tls import AgentProcess, agent_of, protected
from tests.fidelity.walker import differences, walk
from tests.nodes import apply, source, wait_for
from tests.secured import HOST, OTHER, SecuredNode, secured_node
from tests.spine.test_on_demand import make_source

SECONDS = 120


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[SecuredNode, AgentProcess, Path]]:
    tree = tmp_path / "tree"
    make_source(tree)
    home = tmp_path / "home-tls"
    with secured_node(tmp_path / "site", certificate_seconds=20) as node, agent_of(home, node) as agent:
        agent.enrol()
        apply(node, source(f"g/{HOST}/files", str(tree)))
        agent.start()
        protected(node)
        try:
            yield node, agent, tree
        finally:
            agent.stop()
            plug.take_away(home)


def test_a_tree_over_tls(site: tuple[SecuredNode, AgentProcess, Path]) -> None:
    node, agent, tree = site
    target = agent.home.parent / "back"
    on_demand = {"mechanism": "", "rate_bytes": 1000}
    asked = {"address": f"g/{HOST}/files", "host": HOST, "dir": str(target), "on_demand": on_demand}
    opened = node.admin("POST", "/v1/restores", asked)
    assert opened.status == 201, opened.text
    id = opened.json["id"]

    def state() -> Any:
        return node.admin("GET", f"/v1/restores/{id}").json

    wait_for(lambda: state()["phase"] == "filling", SECONDS, f"the tree: {state()}")
    first = agent.certificate()
    assert (target / "dir" / "7" / "file").read_bytes() == (tree / "dir" / "7" / "file").read_bytes()
    other = node.certify(OTHER)
    for host in (HOST, OTHER):
        with pytest.raises(NotAuthorised):
            request_json(node.endpoint(other), "GET", f"/v1/restores/{id}/heat?host={host}")
    wait_for(lambda: agent.certificate() != first, SECONDS, "a renewal of the certificate")
    assert (target / "dir" / "9" / "file").read_bytes() == (tree / "dir" / "9" / "file").read_bytes()
    assert node.admin("POST", f"/v1/restores/{id}/wanted", {"finish": True}).status == 200
    wait_for(lambda: state()["state"] == "done", SECONDS, "the end")
    assert state()["outcome"]["verified"] and differences(walk(tree), walk(target)) == []
    assert os.fsencode(target) not in Path("/proc/mounts").read_bytes()
