"""What a node tells of the policies that were last applied, for those who plan the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.model.ids import parse_address, stream_id
from engine.node.expected import expected_since, hosts_in
from tests.nodes import journal_of
from tests.secured import SecuredNode, secured_node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with secured_node(tmp_path_factory.mktemp("node") / "home") as node:
        yield node


def apply(node: SecuredNode, base: int, *addresses: str, agents: list[str]) -> int:
    sources = {address: source(address) for address in addresses}
    body = {"base": base, "documents": {"Site/sf": {"kind": "Site"}}, "sources": sources, "agents": agents}
    answer = node.admin("POST", "/v1/policies", {**body, "by": "ann@laptop", "commit": "c0ffee", "dirty": False})
    assert answer.status == 201, answer.text
    return int(answer.json["number"])


def source(address: str) -> dict[str, Any]:
    return {
        "stream": stream_id(parse_address(address)), "address": address, "kind": "files", "site": "sf",
        "paths": ["/srv"], "exclude": [], "rpo": "5s", "retention": [],
    }  # fmt: skip


def test_the_latest_policies_are_told_whole_to_admins_alone(node: SecuredNode) -> None:
    assert node.admin("GET", "/v1/policies/latest").json == {"number": 0}
    apply(node, 0, "g/h1/files", agents=["h1", "h3"])
    found = node.admin("GET", "/v1/policies/latest").json
    assert (found["number"], found["by"], found["commit"], found["dirty"]) == (1, "ann@laptop", "c0ffee", False)
    assert (found["documents"], found["agents"]) == ({"Site/sf": {"kind": "Site"}}, ["h1", "h3"])
    assert found["sources"] == {"g/h1/files": source("g/h1/files")}
    node.who = node.certify("h1")
    try:
        assert node.call("GET", "/v1/policies/latest").status == 403
    finally:
        node.who = None

    # A host that was revoked shows since when policies name it: what came before that is no word about today.
    assert found["named_since"] == {}
    node.admin("POST", "/v1/certificates/revoke", {"host": "h1"})
    revoked_at = {row["host"]: row["revoked_at"] for row in node.admin("GET", "/v1/certificates").json["certificates"]}
    assert node.admin("GET", "/v1/policies/latest").json["named_since"]["h1"] < revoked_at["h1"]
    apply(node, 1, agents=["h3"])
    assert node.admin("GET", "/v1/policies/latest").json["named_since"] == {}
    apply(node, 2, "g/h1/files", agents=["h1", "h3"])
    assert node.admin("GET", "/v1/policies/latest").json["named_since"]["h1"] > revoked_at["h1"]
    with journal_of(Path(node.home)) as journal:
        since = expected_since(journal.store, ["h1", "h3", "h9"], 3, hosts_in)
    assert set(since) == {"h1", "h3"} and since["h3"] < revoked_at["h1"] < since["h1"]


@pytest.mark.parametrize("agents", ["h1", [1], [["h1"]], ["x" * 300]])
def test_agents_are_a_list_of_names(node: SecuredNode, agents: Any) -> None:
    body = {"base": 0, "documents": {}, "sources": {}, "agents": agents}
    assert node.admin("POST", "/v1/policies", body).status == 400
