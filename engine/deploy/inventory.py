"""Host patterns resolved through an Ansible inventory, whatever form it has: a file, a directory, a script, a plugin.

Ansible's own code does it, in a process of its own (listing.py), so that nothing of it is imported here and nothing
that an inventory script does happens to us.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.model.errors import Failed

PROGRAM = Path(__file__).with_name("listing.py")
LISTING_SECONDS = 120
"""For an inventory that has to ask a cloud."""
_TRY = "try: python -m ansible inventory -i INVENTORY --list"
_WHY = re.compile(r"Failed to parse inventory with '\w+' plugin[.:](.*?)(Failed to parse|<<<|\[WARNING|$)")
_SETTINGS = {
    "ANSIBLE_NOCOWS": "1",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_NOCOLOR": "1",
    "LC_ALL": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """`hosts` by pattern, in the inventory's order; `faults` say of a pattern why it is none."""

    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)


def listed(inventory: Path, patterns: Collection[str]) -> Listed:
    """The hosts that each pattern stands for. Failed when the inventory can't be read, with Ansible's reason."""
    if not inventory.exists():
        raise Failed(f"there is no inventory at {inventory}", hint="name an Ansible inventory in the Site document")
    argv = [sys.executable, "-P", str(PROGRAM), str(inventory.absolute())]
    asked = json.dumps({"patterns": sorted(patterns)})
    with tempfile.TemporaryDirectory(prefix="bcs-inventory-") as private:
        environment = _environment(Path(private), config_of(inventory))
        try:
            done = subprocess.run(
                argv,
                input=asked,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LISTING_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"the inventory {inventory} was not read within {LISTING_SECONDS} s", hint=_TRY) from None
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = {"error": _last_line(done.stderr)}
    if "error" in told:
        raise _unreadable(inventory, str(told["error"]), done.stderr)
    return Listed(told["hosts"], told["faults"])


def config_of(inventory: Path) -> Path | None:
    """The ansible.cfg that lies beside an inventory, or in the directory that is one; no other counts."""
    path = (inventory if inventory.is_dir() else inventory.parent) / "ansible.cfg"
    return path.absolute() if path.is_file() else None


def _environment(private: Path, config: Path | None) -> dict[str, str]:
    """The caller's, since a cloud's inventory needs its credentials, less what would make Ansible another one."""
    if config is None:
        config = private / "ansible.cfg"
        config.write_text("[defaults]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    return {**kept, **_SETTINGS, "ANSIBLE_CONFIG": str(config), "ANSIBLE_HOME": str(private)}


def _unreadable(inventory: Path, error: str, said: str) -> Failed:
    """Ansible's error names the file alone; why a plugin could not read it is the first of its warnings."""
    why = _WHY.search(" ".join(said.split()))
    reason = why.group(1).strip(" .") if why else ""
    return Failed(f"the inventory {inventory} can't be read: {(reason or error)[:400]}", hint=_TRY)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
