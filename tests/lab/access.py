"""How an administrator reaches the hosts: a fresh ssh key, the hosts' keys, and an inventory for Ansible."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab import disk
from tests.lab.shell import sh
from tests.lab.topology import Topology


def make_key(home: Path) -> None:
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", home / "id_ed25519")


def ssh_options(home: Path) -> list[str]:
    """Arguments of ssh(1): only the lab's files count, and a host key that isn't known is refused."""
    settings = {
        "UserKnownHostsFile": home / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    return ["-F", "/dev/null", *(f"-o{name}={value}" for name, value in settings.items())]


def write(topology: Topology, home: Path) -> None:
    """known_hosts with the keys that the hosts have now, and inventory.json: every site is a group."""
    (home / "known_hosts").write_text("".join(_known(topology, home, host.name) for host in topology.hosts))
    variables = {
        "ansible_user": "ansible",
        "ansible_become": True,
        "ansible_ssh_private_key_file": str(home / "id_ed25519"),
        "ansible_ssh_common_args": " ".join(ssh_options(home)),
    }
    groups: dict[str, dict[str, dict[str, dict[str, str]]]] = {site.name: {"hosts": {}} for site in topology.sites}
    for host in topology.hosts:
        groups[host.site]["hosts"][host.name] = {"ansible_host": topology.address(host)}
    (home / "inventory.json").write_text(json.dumps({"all": {"vars": variables, "children": groups}}, indent=1))


def _known(topology: Topology, home: Path, name: str) -> str:
    host = next(host for host in topology.hosts if host.name == name)
    public = disk.host_key(home / "hosts" / name / "upper").with_suffix(".pub").read_text().split()
    return f"{name},{topology.address(host)} {public[0]} {public[1]}\n"
