"""The mounts that tests work on: there while the block lasts, gone afterwards whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embedded import ROOT
from tests.mounts import KINDS, mounted, volume


@pytest.mark.parametrize("kind", KINDS)
def test_a_mount_is_a_file_system_of_its_own_and_goes(kind: str) -> None:
    with mounted(kind) as path:
        (path / "file").write_bytes(b"content")
        assert path.is_mount()
        assert path.stat().st_dev != path.parent.stat().st_dev
    assert not path.parent.exists()


def test_a_mount_that_is_still_in_use_goes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.mounts._BUSY_SECONDS", 0.1)
    with mounted("ext4") as path:
        held = (path / "held").open("wb")
    with held:
        assert not path.parent.exists()


def test_a_volume_keeps_its_files_while_it_is_unmounted() -> None:
    with volume("xfs") as disk:
        disk.mount()
        (disk.path / "file").write_bytes(b"content")
        disk.unmount()
        assert not (disk.path / "file").exists()
        disk.mount("ro")
        assert (disk.path / "file").read_bytes() == b"content"


def test_what_a_killed_process_left_goes_with_the_next_mount() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    program = "from tests.mounts import mounted\nwith mounted('ext4') as path: print(path, flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, cwd=ROOT, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert left.is_mount()
    with mounted("tmpfs"):
        assert not left.parent.exists()
