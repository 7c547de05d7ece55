"""The systemd units of the embedded site, so that it is there again after a boot. Only for root under systemd.

Their names carry a hash of BCS_HOME: two homes never share one. The agent's unit is written by its Ansible role; this
module knows its name and takes both away again.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.env import durable, processes
from engine.model.errors import Failed

DIRECTORY = Path("/etc/systemd/system")
SERVICE_VARIABLE = "BCS_SERVICE"
"""Environment variable: auto (units where they can be had), detached (never)."""


def wanted() -> bool:
    """Whether the processes of the embedded site are to be units here."""
    choice = os.environ.get(SERVICE_VARIABLE, "auto")
    return choice != "detached" and processes.is_root() and processes.has_systemd()


def name(role: str, home: Path) -> str:
    """The unit of a role without its suffix, as bcs-node-1f6a2b3c."""
    return f"bcs-{role}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}"


def start_node(home: Path, argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Write the node's unit, enable it and start it anew."""
    unit = name("node", home)
    durable.replace(DIRECTORY / f"{unit}.service", node_unit(home, argv, environment).encode(), mode=0o644)
    _systemctl("daemon-reload")
    _systemctl("enable", "--quiet", unit)
    _systemctl("restart", unit)


def remove(role: str, home: Path) -> bool:
    """Stop and forget a role's unit; False when there is none, or none could be ours."""
    unit = name(role, home)
    path = DIRECTORY / f"{unit}.service"
    if not (processes.is_root() and processes.has_systemd() and path.exists()):
        return False
    _systemctl("disable", "--quiet", "--now", unit)
    path.unlink(missing_ok=True)
    _systemctl("daemon-reload")
    return True


def node_unit(home: Path, argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """The text of the node's unit, systemd.service(5). Type=exec: readiness is asked of the node itself."""
    variables = "\n".join(f"Environment={_quoted(f'{key}={value}')}" for key, value in sorted(environment.items()))
    pid_file = str(home / "run" / "node.pid")
    note_pid = f'echo "$MAINPID" > {shlex.quote(pid_file)}'
    return f"""\
# Written by bcsctl apply; edits are lost at the next one. bcsctl down takes it away.
[Unit]
Description=Business continuity node ({str(home).replace("%", "%%")})
After=local-fs.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={" ".join(_quoted(word).replace("$", "$$") for word in argv)}
{variables}
ExecStartPost=/bin/sh -c {_quoted(note_pid).replace("$", "$$")}
ExecStopPost=/bin/rm -f {_quoted(pid_file).replace("$", "$$")}
StandardOutput=append:{str(home).replace("%", "%%")}/node/log
StandardError=inherit
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec=9
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
PrivateTmp=no
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictRealtime=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def _quoted(word: str) -> str:
    """One word of a unit file, with its quotes, backslashes and percent signs standing for themselves."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise Failed(f"systemctl {' '.join(arguments)} failed: {said}", hint="look at journalctl -xe")
