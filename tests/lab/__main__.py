"""A lab by hand: python -m tests.lab COMMAND (or make lab ARGS="COMMAND ...").

    up                         one node host sf-bcs1, protected hosts sf-db1 and sf-mail1, a spare sf-db3
    down                       everything off, nothing left
    status                     addresses, and which hosts are on
    cut NAME, heal NAME        the line of a site, or the cable of a host
    wan NAME [delay_ms=40] [jitter_ms=5] [loss=0.01] [rate_mbit=50]    each way; nothing given: as a cable
    kill HOST, start HOST      power off, power on
    wipe HOST                  power off, a new empty disk, power on
    exec HOST COMMAND...       as root in the host (a shell without a command)
    ctl COMMAND...             on this machine, in the lab's network

The lab's name is ${BCS_LAB:-lab}.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from tests.lab import topology
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.relay import Shape


def up(name: str) -> None:
    began = time.monotonic()
    lab = Lab(topology.default(name))
    lab.up()
    status(lab)
    print(f"up in {time.monotonic() - began:.1f} s; inventory: {lab.inventory}")


def down(name: str) -> None:
    Lab(topology.default(name)).down()


def status(lab: Lab) -> None:
    for host, machine in lab.hosts.items():
        print(f"{host:12} {machine.address:12} {'on' if machine.is_on() else 'off'}")


def execute(lab: Lab, host: str, *argv: str) -> None:
    command = lab.hosts[host].inside(argv or ("bash",))
    os.execvp(command[0], command)


def control(lab: Lab, *argv: str) -> None:
    command = lab.controller.inside(argv or ("bash",))
    os.execvpe(command[0], command, lab.controller.environment())


def wan(lab: Lab, name: str, *settings: str) -> None:
    shape = Shape(**{key: float(value) for key, _, value in (text.partition("=") for text in settings)})
    lab.network.shape(name, shape)


COMMANDS: dict[str, Callable[..., None]] = {
    "status": status,
    "cut": lambda lab, name: lab.network.cut(name),
    "heal": lambda lab, name: lab.network.heal(name),
    "wan": wan,
    "kill": lambda lab, host: lab.hosts[host].power_off(),
    "start": lambda lab, host: lab.hosts[host].power_on(),
    "wipe": lambda lab, host: lab.hosts[host].wipe(),
    "exec": execute,
    "ctl": control,
}


def main(argv: list[str]) -> str | None:
    name = os.environ.get("BCS_LAB") or "lab"
    command, arguments = (argv or ["help"])[0], argv[1:]
    try:
        if command in ("up", "down"):
            {"up": up, "down": down}[command](name)
        elif command in COMMANDS:
            COMMANDS[command](Lab.attach(name), *arguments)
        else:
            return __doc__
    except (LabError, TypeError, KeyError, ValueError) as error:
        return f"lab: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
