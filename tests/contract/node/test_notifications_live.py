"""A real node that is killed: what it had to tell is told by the next one, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.nodes import process_node, source, wait_for
from tests.receivers import web_server


def kept(home: Path) -> dict[str, Any]:
    """What the watch wrote last."""
    newest = sorted((home / "journal" / "control" / "alerts").glob("*.json"))[-1]
    return dict(json.loads(newest.read_text()))


def test_a_killed_node_leaves_nothing_untold(tmp_path: Path) -> None:
    with web_server() as (url, got), process_node(tmp_path / "home") as node:
        got.answers = [503]
        spec = {"on": ["control-changed"], "to": [{"webhook": url}]}
        documents = {"Notification/on-call": {"kind": "Notification", "metadata": {"name": "on-call"}, "spec": spec}}
        made = source("g/h1/files")
        body = {"base": 0, "documents": documents, "sources": {made["address"]: made}, "by": "ann"}
        assert node.call("POST", "/v1/policies", body).status == 201
        got.wait_tries(1, 30)
        wait_for(lambda: "notification on-call" in node.log(), 120, "the failure in the log")
        node.site.kill("node")
        node.site.start_node()
        [message] = got.wait(1, 30)
        assert [each["event"] for each in message["notices"]] == ["control-changed"]
        wait_for(lambda: kept(node.home)["waiting"] == [], 120, "the delivery to be kept")
        node.site.kill("node")
        node.site.start_node()
        assert node.call("POST", "/v1/policies", {**body, "base": 1}).status == 201
        _, second = got.wait(2, 30)
        assert [each["text"][:34] for each in second["notices"]] == ["ann applied policies number 2, fro"]
        assert "s3cret" not in node.log()
