"""The processes of a recovery as a service of systemd's that ends after all others, and is begun again when killed.

Whoever reads a cold file must find it guarded to his last moment. So at a shutdown nothing stops this service:
systemd's last process ends what is left of it together with whatever else still runs, but not the holder (`outlive`).
And what the processes hold is kept by the first process too (engine.env.fd_store): all of them killed at once, readers
wait, and the supervisor that systemd starts goes on with it. Where there is no systemd, or it refuses, nobody does.
Sources: systemd.service(5), systemd.unit(5), systemd-shutdown(8), and what systemd says of daemons of root storage.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from engine.env import durable, fd_store
from engine.fill.base import Place
from engine.fill.life import at_boot

DIRECTORY = Path("/run/systemd/system")
WITHIN = "BCS_FILL_SERVICE"
"""Set for the processes of such a service."""
NAME = "held"
FAILED_AS_TOLD, DIED = 1, 70
"""Exit codes of a supervisor: it has said why it can't go on; something went wrong that nobody thought of."""
LAST_PROCESS = "systemd-shutdow"
"""What proc(5) calls the process that systemd becomes when all services have been stopped: 15 letters of it."""
_ARG_START = 48 - 3  # of /proc/self/stat, behind the name


def name(place: Place) -> str:
    return f"bcs-fill-{place.path.name}.service"


def possible() -> bool:
    """Whether there is a systemd here that would start it, and we are not in such a service."""
    return at_boot.possible() and WITHIN not in os.environ


def start(place: Place, argv: Sequence[str], environment: Mapping[str, str]) -> int | None:
    """Start a supervisor there: its pid. None where that can't be; the recovery's log has why."""
    if not possible():
        return None
    unit = name(place)
    path = DIRECTORY / unit
    try:
        variables = {**environment, WITHIN: unit}
        told = "".join(f"{key}={_quoted(value)}\n" for key, value in sorted(variables.items()))
        durable.replace(_environment_of(place), os.fsencode(told), mode=0o600)  # a unit's text is for all to read
        durable.replace(path, text(place, argv).encode(), mode=0o644)
        subprocess.run(["systemctl", "start", unit], check=True, capture_output=True, text=True)
        show = ["systemctl", "show", "--property=MainPID", "--value", unit]
        pid = int(subprocess.run(show, check=True, capture_output=True, text=True).stdout or 0)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = getattr(error, "stderr", "") or str(error)
        with place.log.open("a") as log:
            log.write(f"not as a service of systemd: {why.strip()}\n")
        path.unlink(missing_ok=True)
        return None
    return pid or None


def text(place: Place, argv: Sequence[str]) -> str:
    """Of the unit."""
    command = " ".join(at_boot.quoted(word).replace("$", "$$") for word in argv)
    log, variables = (str(path).replace("%", "%%") for path in (place.log, _environment_of(place)))
    return f"""\
# Written by bcsctl restore --on-demand; it goes when all of the tree is there.
[Unit]
Description=Filling of a recovered tree, {place.path.name}
DefaultDependencies=no
IgnoreOnIsolate=yes
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
EnvironmentFile={variables}
StandardOutput=append:{log}
StandardError=append:{log}
Restart=on-failure
RestartSec=100ms
RestartPreventExitStatus={FAILED_AS_TOLD}
KillMode=process
OOMPolicy=continue
NotifyAccess=all
FileDescriptorStoreMax=4
TimeoutStopSec=5
"""


def variables() -> dict[str, str]:
    """What processes of such a service hand on to those that they start."""
    return {key: os.environ[key] for key in (WITHIN, "NOTIFY_SOCKET") if WITHIN in os.environ and key in os.environ}


def keep(place: Place, held: int, guard: str) -> None:
    """Have systemd keep what was just made, which guards the tree under this guard."""
    if WITHIN in os.environ:
        fd_store.forget(NAME)
        durable.replace(_guard_of(place), guard.encode())
        fd_store.keep(NAME, held)


def kept(place: Place) -> tuple[int, str] | None:
    """What systemd has kept when all were killed, and the guard that the tree is under; None when there is nothing."""
    held = fd_store.kept(NAME) if WITHIN in os.environ else None
    return None if held is None else (held, _guard_of(place).read_text())


def let_go(place: Place) -> None:
    """What is held is let go of: by systemd, too."""
    if WITHIN in os.environ:
        fd_store.forget(NAME)
        with suppress(OSError):
            (DIRECTORY / name(place)).unlink(missing_ok=True)


def outlive() -> None:
    """Not be ended by systemd's last process either, which leaves those of root whose command line begins with an @:
    what we hold is closed when the kernel stops. Memory where the kernel reads the command line is written to."""
    with suppress(OSError, ValueError):
        at = int(Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[_ARG_START])
        ctypes.memset(at, ord("@"), 1)


def going_down() -> bool:
    """Whether all services have been stopped, and what still runs is about to be killed."""
    try:
        return Path("/proc/1/comm").read_text().strip() == LAST_PROCESS
    except OSError:
        return False


def be_quiet() -> None:
    """Hold no file open any more: file systems are about to be unmounted."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _quoted(value: str) -> str:
    """As a file of variables has it, systemd.exec(5)."""
    escaped = re.sub(r'(["\\\\`$])', r"\\\1", value)
    return f'"{escaped}"'


def _guard_of(place: Place) -> Path:
    return place.path / "kept"


def _environment_of(place: Place) -> Path:
    return place.path / "environment"
