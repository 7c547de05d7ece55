"""This checkout and its Python in a host, read-only, at the paths that they have here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.lab.topology import Host

ROOT = Path(__file__).parents[2]
BCSCTL = [str(ROOT / ".venv" / "bin" / "python"), "-m", "bcsctl"]
ROOT_OF_PYTHON = {(3, 11): "bookworm", (3, 13): "trixie"}


def host_with_program(name: str, site: str, number: int) -> Host:
    """A host in which BCSCTL runs. Skips where the Python of the tests is one that no root of the lab has."""
    binds = [f"--bind-ro={ROOT}"]
    if sys.base_prefix != "/usr":
        return Host(name, site, number, nspawn=(*binds, f"--bind-ro={sys.base_prefix}"))
    if sys.version_info[:2] not in ROOT_OF_PYTHON:
        pytest.skip(
            f"no root of the lab has Python {sys.version_info[0]}.{sys.version_info[1]} in /usr, as this machine"
        )
    return Host(name, site, number, root=ROOT_OF_PYTHON[sys.version_info[:2]], nspawn=tuple(binds))
