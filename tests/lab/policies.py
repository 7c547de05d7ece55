"""Policies for the lab's default hosts, as an administrator writes them."""

from __future__ import annotations

from pathlib import Path

TREE = "/srv/work"


def site(inventory: Path, hosts: str, *, spare: str = "") -> str:
    """Site sf with its node, and a group `work` that protects TREE on `hosts`; `spare` hosts get an agent alone."""
    agent = f"  agent: {{hosts: {spare}}}\n" if spare else ""
    return f"""
apiVersion: bcs/v1alpha1
kind: Site
metadata: {{name: sf}}
spec:
  inventory: {inventory}
  nodes: [{{host: sf-bcs1, url: "https://sf-bcs1:8440"}}]
  storage: {{url: "file:///var/lib/bcs/journal"}}
  encryption: {{masterKeyFile: /etc/bcs/master.key}}
{agent}---
apiVersion: bcs/v1alpha1
kind: ProtectionGroup
metadata: {{name: work}}
spec:
  site: sf
  hosts: "{hosts}"
  sources: [{{files: {{paths: [{TREE}]}}}}]
  objectives: {{rpo: 5s}}
"""
