"""What compiled files depend on: the release of Python and the machine."""

from __future__ import annotations

import platform as machine_platform
import sys
from dataclasses import dataclass

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")

# The oldest C library first that our dependencies' wheels ask for; what runs with it runs with every newer one.
_C_LIBRARIES = (
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_24",
    "manylinux_2_26",
    "manylinux_2_27",
    "manylinux_2_28",
)


@dataclass(frozen=True, slots=True)
class Platform:
    """As `Platform("3.11", "x86_64")`."""

    python: str
    machine: str

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine}"

    @property
    def key(self) -> str:
        """A word for names of files, as py3.11-x86_64."""
        return f"py{self.python}-{self.machine}"

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform tags of wheels that run there, PEP 600."""
        return tuple(f"{library}_{self.machine}" for library in _C_LIBRARIES)


def this_platform() -> Platform:
    return Platform(f"{sys.version_info.major}.{sys.version_info.minor}", machine_platform.machine())


def supported() -> list[Platform]:
    """Every platform that agents are made for."""
    return [Platform(python, machine) for machine in MACHINES for python in PYTHONS]
