"""The node of a site, put on its host by a playbook. It comes up with a key, a certificate authority and an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from engine.deploy import bundle
from engine.deploy.agents import absent
from engine.deploy.outcome import HostOutcome, Progress
from engine.deploy.runner import run_playbook
from engine.model.errors import UsageError
from engine.model.policy.site import Site

HOME = "/var/lib/bcs"
ROOT = "/opt/bcs-node"
UNIT = "bcs-node"
MASTER_KEY = "/etc/bcs/master.key"
PORT = 8440


@dataclass(frozen=True, slots=True)
class NodeOutcome:
    """What came of a node's host. `ca_pem` is the site's, `version` what the node that answers says it is; both empty
    when it went wrong, or in check mode on a host without a node."""

    host: HostOutcome
    ca_pem: str = ""
    version: str = ""


def deploy_node(
    site: Site,
    host: str,
    *,
    cache: Path,
    admins: Mapping[str, str] | None = None,
    version: str = "",
    config: Path | None = None,
    on_event: Callable[[Progress], None] | None = None,
    check: bool = False,
) -> NodeOutcome:
    """Have this program's node of `site` run on `host`, with a master key of its own making, and answer.

    `admins` are the SHA-256, in hex, of bearer tokens by name; files of other names are left alone. `version` is an
    older one that is still on the host, to roll back to. Raises Failed when Ansible could not run at all.
    """
    inventory = Path(site.inventory)
    outcome = run_playbook(
        "node.yml", inventory, _variables(site, host, cache, admins or {}, version),
        limit=host, check=check, config=config, on_event=on_event,
    )  # fmt: skip
    row = outcome.hosts.get(host) or absent(host, inventory)
    answer = row.facts.get("node", {}) if row.ok else {}
    return NodeOutcome(row, str(answer.get("ca", "")), str(answer.get("version", "")))


def version() -> str:
    """The version of the node that `deploy_node` brings."""
    return bundle.version(bundle.NODE)


def _variables(site: Site, host: str, cache: Path, admins: Mapping[str, str], version: str) -> dict[str, Any]:
    key = site.encryption.master_key_file if site.encryption else MASTER_KEY
    journal = _journal(site)
    return {
        "node_root": ROOT,
        "node_home": HOME,
        "node_unit": UNIT,
        "node_cache": str(cache),
        "node_version": version,
        "node_admins": dict(admins),
        "node_settings": {
            "site": site.name,
            "host": host,
            "urls": [node.url for node in site.nodes],
            "listen": _listen(site, host),
            "journal": journal,
            "master_key": key,
            "commit_every": site.storage.commit_every,
        },
    }


def _journal(site: Site) -> str:
    """The journal's directory on the node. UsageError for a store that is none."""
    parts = urlsplit(site.storage.url)
    if parts.scheme != "file":
        raise UsageError(
            f"site {site.name} keeps its journal at {site.storage.url}: this release can keep it in a directory only",
            hint="give storage.url as file:///var/lib/bcs/journal",
        )
    return unquote(parts.path)


def _listen(site: Site, host: str) -> str:
    """Every address, at the port that the node's URL names."""
    url = next((node.url for node in site.nodes if node.host == host), "")
    return f"0.0.0.0:{urlsplit(url).port or PORT}"
