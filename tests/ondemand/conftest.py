"""Both mechanisms on the file systems they serve."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.base import FUSE, MODULES, PRE_ACCESS
from tests.mounts import mounted

WHERE = [(PRE_ACCESS, "ext4"), (PRE_ACCESS, "xfs"), (PRE_ACCESS, "btrfs"), (FUSE, "ext4"), (FUSE, "tmpfs")]


def skip_if_impossible(mechanism: str, directory: Path) -> None:
    """Skip where this kernel, or user, can't have the mechanism."""
    module = importlib.import_module(MODULES[mechanism])
    why = module.why_not(os.fsencode(directory))
    if why:
        pytest.skip(f"{mechanism}: {why}")


@pytest.fixture(params=[PRE_ACCESS, FUSE])
def mechanism(request: pytest.FixtureRequest) -> str:
    """Each mechanism, where the file system does not matter."""
    return str(request.param)


@pytest.fixture
def disk(mechanism: str) -> Iterator[Path]:
    """An ext4 of its own, on which the mechanism works."""
    with mounted("ext4") as path:
        skip_if_impossible(mechanism, path)
        yield path
