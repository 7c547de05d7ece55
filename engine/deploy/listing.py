"""Which hosts patterns stand for in an Ansible inventory, by Ansible's own code. A program: it imports nothing of ours.

Usage: listing.py INVENTORY, with {"patterns": [...]} on standard input. Answers {"hosts": {pattern: [name, ...]},
"faults": {pattern: message}} or {"error": message} on standard output; what Ansible says goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(inventory: str) -> None:
    asked: list[str] = json.load(sys.stdin)["patterns"]
    answer = os.dup(1)
    os.dup2(2, 1)  # Ansible and inventory scripts talk on standard output too
    try:
        told = listed(inventory, asked)
    except Exception as error:
        told = {"error": one_line(error)}
    with os.fdopen(answer, "w") as out:
        json.dump(told, out)


def listed(inventory: str, patterns: list[str]) -> dict[str, Any]:
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()
    found = InventoryManager(loader=DataLoader(), sources=[inventory])
    hosts: dict[str, list[str]] = {}
    faults: dict[str, str] = {}
    for pattern in patterns:
        try:
            # Ansible makes up a `localhost` where there is none: the machine that asks, which no site means.
            hosts[pattern] = [str(host.name) for host in found.get_hosts(pattern) if not host.implicit]
        except Exception as error:
            faults[pattern] = one_line(error)
    return {"hosts": hosts, "faults": faults}


def one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1])
