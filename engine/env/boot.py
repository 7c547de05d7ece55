"""Which boot of this machine, or of this container, it is: the same answer to all its processes."""

from __future__ import annotations

from pathlib import Path

_PATH = "proc/sys/kernel/random/boot_id"
_WAYS = (Path("/proc/1/root") / _PATH, Path("/") / _PATH)


def boot_id() -> str:
    """What the first process sees, where we may ask it.

    A container manager mounts a number of the container's own over the kernel's (systemd-nspawn(1) does); a service
    whose tunables systemd protects (systemd.exec(5), ProtectKernelTunables) has a /proc/sys without that mount, and
    would tell another boot than everybody else.
    """
    for path in _WAYS:
        try:
            return path.read_text("ascii").strip()
        except OSError as error:
            failure = error
    raise failure
