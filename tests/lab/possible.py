"""Whether this machine can run labs, and if not, why."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.lab.errors import LabError, LabImpossible
from tests.lab.roots import cache
from tests.lab.shell import PATH, cgroups, end_cgroup, sh

COMMAND_OF = {
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
OVERLAY = 'mount -t overlay probe "$0/m" -o "lowerdir=$0/l,upperdir=$0/u,workdir=$0/w,index=on,nfs_export=on"'


def require() -> None:
    """Raises LabImpossible with the first reason why no lab can be run here."""
    if os.geteuid() != 0:
        raise LabImpossible("labs need root")
    missing = sorted({package for command, package in COMMAND_OF.items() if shutil.which(command, path=PATH) is None})
    if missing:
        raise LabImpossible(f"not installed: {', '.join(missing)}")
    if not os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK):
        raise LabImpossible(
            "/proc/sys/net can't be written: routers could not forward (a container without privileges?)"
        )
    probe = cache() / f"probe-{os.getpid()}"
    try:
        _require_overlay(probe)
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    _require_cgroup(cgroups() / f"bcs-lab-probe-{os.getpid()}")


def _require_overlay(probe: Path) -> None:
    try:
        for name in "mluw":
            (probe / name).mkdir(parents=True)
        sh("unshare", "--mount", "sh", "-c", OVERLAY, probe)
    except (OSError, LabError) as error:
        raise LabImpossible(f"no overlayfs in {probe.parent}: {error}") from None


def _require_cgroup(probe: Path) -> None:
    try:
        probe.mkdir()
    except OSError as error:
        raise LabImpossible(f"no cgroups can be made: {error}") from None
    try:
        if not (probe / "cgroup.kill").exists():
            raise LabImpossible("the kernel has no cgroup.kill (it came with Linux 5.14)")
    finally:
        end_cgroup(probe) if (probe / "cgroup.kill").exists() else probe.rmdir()
