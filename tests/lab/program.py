"""This program and its Python in a host, read-only and at the paths that they have here.

The sources are copied first, so a change to the checkout while the tests run is not an upgrade in the midst of them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.lab.topology import Host

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv"
PARTS = ("engine", "bcsctl", "reports", "playbooks", "policies", "requirements")
BCSCTL = [str(VENV / "bin" / "python"), "-m", "bcsctl"]
ROOT_OF_PYTHON = {(3, 11): "bookworm", (3, 13): "trixie"}


def host_with_program(name: str, site: str, number: int, copy: Path) -> Host:
    """A host in which BCSCTL runs, from `copy`, a new directory.

    Skips where the Python of the tests is one that no root of the lab has.
    """
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / VENV.name).mkdir()
    binds = [f"--bind-ro={copy}:{ROOT}", f"--bind-ro={VENV}"]
    if sys.base_prefix != "/usr":
        return Host(name, site, number, nspawn=(*binds, f"--bind-ro={sys.base_prefix}"))
    if sys.version_info[:2] not in ROOT_OF_PYTHON:
        pytest.skip(f"no root of the lab has the Python of this machine, {sys.version.split()[0]}, in /usr")
    return Host(name, site, number, root=ROOT_OF_PYTHON[sys.version_info[:2]], nspawn=tuple(binds))
