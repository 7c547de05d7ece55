"""Typed on the controller of a lab: one deployment, asked for and answered as JSON, a row for each host.

Asked: {"call": "node" | "agents" | "remove", "policies", "cache", "hosts", "check", "version", "enrol"}. Tokens for
`enrol` are fetched from the site's node, with the credentials of whoever runs this.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.deploy.agents import deploy_agents, remove_agents
from engine.deploy.nodes import deploy_node
from engine.deploy.outcome import HostOutcome
from engine.env import credentials
from engine.env.endpoint import request_json
from engine.reconcile.resolve import load_policies


def deploy(asked: dict[str, Any]) -> dict[str, HostOutcome]:
    site = next(site for site in load_policies([asked["policies"]]).sites if site.name == "sf")
    hosts, check, version, cache = asked["hosts"], asked["check"], asked["version"], Path(asked["cache"])
    if asked["call"] == "node":
        return {"sf-bcs1": deploy_node(site, "sf-bcs1", cache=cache, version=version, check=check).host}
    if asked["call"] == "remove":
        return dict(remove_agents(site, hosts, check=check).hosts)
    known = credentials.read("sf")
    enrolments = {}
    if asked["enrol"] and known is not None:
        ask = known.endpoint()
        enrolments = {host: request_json(ask, "POST", "/v1/enrolments", {"host": host})["token"] for host in hosts}
    ca = known.ca if known is not None else "none yet\n"
    outcome = deploy_agents(
        site, hosts, cache=cache, ca_pem=ca, enrolments=enrolments, version=version, check=check
    )  # fmt: skip
    return dict(outcome.hosts)


def main() -> None:
    asked = json.load(sys.stdin)
    began = time.monotonic()
    rows = {host: asdict(row) | {"ok": row.ok} for host, row in deploy(asked).items()}
    json.dump({"rows": rows, "seconds": time.monotonic() - began}, sys.stdout)


if __name__ == "__main__":
    main()
