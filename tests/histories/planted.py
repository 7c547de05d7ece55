"""A site with a planted fault, and one whose disk loses what was not synced."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from subprocess import Popen

from tests.embedded import Site
from tests.mounts import Volume

_EXT4_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32), as XFS has it too: fs/ext4/ext4.h."""
_WITHOUT_FLUSHING_THE_LOG = 2


class Planted(Site):
    """A site in which one part has a fault of tests.histories.faulty; none with ""."""

    fault = ""

    def _spawn(self, arguments: list[str], log: str) -> Popen[bytes]:
        if self.fault:
            arguments = ["-m", "tests.histories.faulty", self.fault, *arguments[1:]]
        return super()._spawn(arguments, log)


def planted(home: Path, fault: str, environment: dict[str, str] | None = None) -> Planted:
    site = Planted(home, environment)
    site.fault = fault
    return site


def cut_power(volume: Volume, site: Site) -> None:
    """The file system stops at once, and what was not synced is lost. Then it is back, its log replayed."""
    fd = os.open(volume.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING_THE_LOG))
    finally:
        os.close(fd)
    for name in ("agent", "node"):
        site.kill(name)
    volume.unmount()
    volume.mount()
