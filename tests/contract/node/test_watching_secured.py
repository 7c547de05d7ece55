"""Metrics, status and notifications over TLS: who may see what, and a host that is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env.endpoint import connect
from tests.nodes import Writer, source, wait_for
from tests.secured import SecuredNode, secured_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SecuredNode]:
    with secured_node(tmp_path / "home") as node:
        yield node


def allowed(node: SecuredNode, name: str, role: str, groups: list[str]) -> dict[str, Any]:
    spec = {"subjects": [{"token": name}], "roles": [role], "groups": groups}
    return {f"AccessPolicy/{name}": {"kind": "AccessPolicy", "metadata": {"name": name}, "spec": spec}}


def get(node: SecuredNode, path: str, token: str = "", method: str = "GET") -> tuple[int, str]:
    connection = connect(node.endpoint(token=token), 30.0)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_who_sees_what(node: SecuredNode) -> None:
    documents = {
        **allowed(node, "prometheus", "viewer", ["*"]),
        **allowed(node, "finance", "viewer", ["finance"]),
        **allowed(node, "operator", "operator", ["*"]),
    }
    sources = {each["address"]: each for each in (source("finance/h1/files"), source("web/h2/files"))}
    body = {"base": 0, "documents": documents, "sources": sources, "by": "ann"}
    assert node.admin("POST", "/v1/policies", body).status == 201
    tokens = {
        name: node.admin("POST", "/v1/tokens", {"name": name}).json["token"]
        for name in ("prometheus", "finance", "operator")
    }
    status, text = get(node, "/metrics", tokens["prometheus"])
    assert status == 200
    assert 'bcs_source_protected{group="finance",host="h1",source="files"} 0.0' in text
    assert get(node, "/metrics")[0] == 401
    assert get(node, "/metrics", tokens["finance"])[0] == 403, "it names all groups"
    assert get(node, "/v1/notifications", tokens["finance"])[0] == 403
    assert get(node, "/v1/notifications", tokens["prometheus"])[0] == 200
    assert get(node, "/v1/notifications/test", tokens["prometheus"], "POST")[0] == 403
    assert get(node, "/v1/notifications/test", tokens["operator"], "POST")[0] == 404, "there is none to test"
    status, text = get(node, "/v1/status", tokens["finance"])
    assert status == 200 and "finance/h1/files" in text
    assert "web" not in text and "h2" not in text
    assert tokens["prometheus"] not in node.log()


def test_a_revoked_host_shows_as_refused(node: SecuredNode) -> None:
    writer = Writer(node, "web/web1/files", host="web1").protect()
    host = node.certify("web1")
    node.who = host
    body = {"sources": [{"stream": writer.stream, "state": "protected"}], "generation": 0, "version": "1"}
    assert node.call("POST", "/v1/agents/web1/status", body).status == 200
    [row] = node.admin("GET", "/v1/status").json["hosts"]
    assert row["state"] != "refused"
    assert row["certificate"]["revoked_at"] is None and row["certificate"]["not_after"] > row["heard_at"]
    assert node.admin("POST", "/v1/certificates/revoke", {"host": "web1"}).status in (200, 201)
    assert node.call("POST", "/v1/agents/web1/status", body).status in (401, 403)

    def refused() -> bool:
        [row] = node.admin("GET", "/v1/status").json["hosts"]
        return bool(row["state"] == "refused" and row["since"] == row["certificate"]["revoked_at"])

    wait_for(refused, 120, "the host to be refused")
    assert "its host is refused since" in node.admin("GET", "/v1/status").json["answer"]
    assert get(node, "/metrics")[0] == 401
