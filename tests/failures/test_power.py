"""The host loses power: its file system stops in the middle of everything, and what was not synced is gone.

The kernel's own way to test that is used: ext4 and xfs shut down without flushing even their journals
(EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN). The agent's home and the source lie on that file system, and both come back as a
disk would.
"""

from __future__ import annotations

import fcntl
import os
import random
import struct
import time
from pathlib import Path

import pytest

from tests.failures.host import SMALL, a_host
from tests.mounts import SIZE_BYTES, volume

SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs/ext4/ext4.h and xfs_fs.h
NO_LOG_FLUSH = 2
ROUNDS = 4


def cut_power(mount_point: Path) -> None:
    fd = os.open(mount_point, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_is_lost_under_load(tmp_path: Path, kind: str) -> None:
    """Points that the node had stay as they are, and the history comes to equal what the disk is after each loss."""
    source = random.Random(11)
    with volume(kind, SIZE_BYTES) as disk:
        disk.mount()
        home, tree = disk.path / "home", disk.path / "tree"
        home.mkdir()
        tree.mkdir()
        with a_host(tmp_path / "host", tree=tree, home=home) as host:
            for number in range(ROUNDS):
                host.start(limits=SMALL)
                host.settle()
                host.protected()
                write(tree, source, seconds=0.5)
                if number % 2:
                    # What the node takes last is not on the host's disk when the power goes.
                    host.node.away = True
                    write(tree, source, seconds=0.5)
                cut_power(disk.path)
                host.kill()
                host.node.away = False
                disk.unmount()
                disk.mount()
            host.start(limits=SMALL)
            host.settle()
            host.protected()
            (tree / "after").write_text("all is well")
            host.settle()
            host.check()
            assert len(host.gaps()) >= ROUNDS
            assert host.end() == 0


def write(tree: Path, source: random.Random, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        path = tree / f"f{source.randrange(30)}"
        path.write_bytes(source.randbytes(source.randrange(20_000)))
        if source.random() < 0.2:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if source.random() < 0.3:
            (tree / f"f{source.randrange(30)}").unlink(missing_ok=True)
        time.sleep(0.003)
