"""Processes that see different files under /proc/sys agree on the boot all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.env.boot import boot_id

ASK = "from engine.env.boot import boot_id; print(boot_id())"
OWN = "/proc/sys/kernel/random/boot_id"


def test_it_is_the_kernels() -> None:
    assert boot_id() == Path(OWN).read_text().strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's to make")
def test_a_process_with_another_view_of_it_says_the_same(tmp_path: Path) -> None:
    """As the services of a container that a manager gave a number of its own, the other way round."""
    other = tmp_path / "boot_id"
    other.write_text("00000000-0000-4000-8000-000000000000\n")
    inside = f'mount --bind "$1" {OWN} && cat {OWN} && exec "$2" -c "$3"'
    first = f"unshare --mount sh -c '{inside}' sh \"$@\"; exit $?"  # stays, as the first process there
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", first, "sh", str(other), sys.executable, ASK]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == [other.read_text().strip(), boot_id()]
