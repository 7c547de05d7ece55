"""Have systemd lay the cover over a tree at the next boot, before anything can reach it, for as long as it fills.

The unit needs nothing of ours but its own text: mount(8) at early boot, ordered before local-fs.target and behind the
mounts that the tree lies on. Without systemd, or without root, there is none: then services have to be started behind
`bcsctl apply`. Sources: systemd.unit(5), systemd.service(5), bootup(7).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from engine.env import durable, processes
from engine.fill.tree.cover import OPTIONS, name
from engine.model.errors import Failed

DIRECTORY = Path("/etc/systemd/system")


def possible() -> bool:
    """Whether there is a systemd here that would do it."""
    return processes.is_root() and processes.has_systemd()


def install(directory: str, recovery: str) -> None:
    """Write the unit and enable it, not start it. Nothing where there is no systemd; Failed when systemd refuses."""
    if possible():
        durable.replace(DIRECTORY / f"{name(recovery)}.service", unit(directory, recovery).encode(), mode=0o644)
        _systemctl("enable", "--quiet", name(recovery))  # which has systemd read its units again


def remove(recovery: str) -> None:
    """The tree is whole, or gone. Nothing when there is no such unit."""
    path = DIRECTORY / f"{name(recovery)}.service"
    if possible() and path.exists():
        _systemctl("disable", "--quiet", name(recovery))
        path.unlink(missing_ok=True)
        _systemctl("daemon-reload")


def unit(directory: str, recovery: str) -> str:
    """The text of the unit. It is wanted, not required: a boot must not end in an emergency shell for it."""
    return f"""\
# Written by bcsctl restore --on-demand; it goes when all of the tree is there.
[Unit]
Description=Cover of {directory.replace("%", "%%")!r} until its files are guarded again
DefaultDependencies=no
RequiresMountsFor={quoted(directory)}
ConditionPathIsDirectory={directory.replace("%", "%%")}
Before=local-fs.target umount.target
Conflicts=umount.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=mount -t tmpfs -o ro,nosuid,nodev,noexec,{OPTIONS} {name(recovery)} {quoted(directory).replace("$", "$$")}

[Install]
WantedBy=local-fs.target
"""


def quoted(path: str) -> str:
    """One word of a unit: in double quotes, with C escapes and without specifiers. In a command a $ is doubled, too."""
    escaped = "".join(
        f"\\x{byte:02x}" if byte < 0x20 or byte > 0x7E or byte in b'"\\' else chr(byte) for byte in os.fsencode(path)
    )
    return f'"{escaped.replace("%", "%%")}"'


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(
            f"systemctl {' '.join(arguments)}: {done.stderr.strip()[-300:]}",
            hint="without that unit the tree is open at the next boot before it is guarded: mend systemd first",
        )
