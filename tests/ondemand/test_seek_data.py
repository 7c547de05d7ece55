"""Who asks the file system itself where data is, as docs/recovery.md says it: what he is told of what is not filled."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from pathlib import Path

import pytest

from engine.fill.base import FUSE, PRE_ACCESS
from tests.mounts import mounted
from tests.ondemand.conftest import skip_if_impossible
from tests.ondemand.rig import recovery

SIZE = 90 * 8192 + 5
NAMES = ("read", "copied", "packed", "asked")


def data_at(path: Path) -> int | None:
    """Where data begins; None where there is said to be none."""
    with path.open("rb") as file:
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return None


@pytest.mark.parametrize(
    ("mechanism", "kind"), [(PRE_ACCESS, "ext4"), (PRE_ACCESS, "xfs"), (PRE_ACCESS, "btrfs"), (FUSE, "ext4")]
)
def test_what_is_cold_is_data_or_the_documents_say_what_to_do(tmp_path: Path, mechanism: str, kind: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in NAMES:
        (source / name).write_bytes(random.Random(name).randbytes(SIZE))
    with mounted(kind) as disk:
        skip_if_impossible(mechanism, disk)
        with recovery(source, disk / "tree", tmp_path / "home", mechanism) as made:
            made.begin()
            tree = made.dir
            cold = None if mechanism == PRE_ACCESS else 0
            assert [data_at(tree / name) for name in NAMES] == [cold] * len(NAMES)
            assert (tree / "read").read_bytes() == (source / "read").read_bytes()
            assert data_at(tree / "read") == 0, "a file that was read once is what it is"
            subprocess.run(["cp", tree / "copied", tmp_path / "copied"], check=True)
            assert (tmp_path / "copied").read_bytes() == (source / "copied").read_bytes()
            # GNU tar may say that a file changed as it was read (exit 1): what it wrote is right.
            packed = subprocess.run(["tar", "-S", "-C", tree, "-cf", tmp_path / "tar", "packed"], capture_output=True)
            assert packed.returncode in (0, 1), packed.stderr
            subprocess.run(["tar", "-C", tmp_path, "-xf", tmp_path / "tar"], check=True)
            assert (tmp_path / "packed").read_bytes() == (source / "packed").read_bytes()
            assert data_at(tree / "asked") == cold
            made.fill()
            assert data_at(tree / "asked") == 0
