"""Drills and checks as policies declare them, read from valid documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.model.times import MINUTE, parse_duration

CHECK_TIMEOUT_DEFAULT = 5 * MINUTE
CHECKSUMS, APPLICATION, COMMAND = "checksums", "application", "command"
LATEST, RANDOM = "latest", "random"
"""What a drill may restore beside a moment as `--at` takes it: the newest point, or any moment of the kept past."""
CANCEL, FILL, VERIFY = "cancel", "fill", "verify"
"""What becomes of trees on demand once their drill's commands ran: taken away cold, filled, or filled and read back."""


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is checksums, application or command; a command passes when it exits with 0.

    A command that is a text is for the shell; one of several words is run as it is.
    """

    name: str
    command: str | tuple[str, ...] = ""
    timeout: int = CHECK_TIMEOUT_DEFAULT

    def as_json(self) -> dict[str, Any]:
        command = self.command if isinstance(self.command, str) else list(self.command)
        return {"name": self.name, "command": command, "timeout": self.timeout}


@dataclass(frozen=True, slots=True)
class Drill:
    """A rehearsal every `every` microseconds of a restore of `restore` (a moment, as `latest`, or `random`).

    `scratch` is the directory below which it restores, on the node or on the `host` whose agent makes it; empty for one
    of the node's or agent's own. `on_demand`: the trees are used while they are cold, and become this afterwards; empty
    for a restore.
    """

    every: int
    restore: str = LATEST
    checks: tuple[Check, ...] = (Check(CHECKSUMS),)
    scratch: str = ""
    on_demand: str = ""
    host: str = ""

    def as_json(self) -> dict[str, Any]:
        checks = [check.as_json() for check in self.checks]
        told = {"every": self.every, "restore": self.restore, "checks": checks, "scratch": self.scratch}
        more = {"on_demand": self.on_demand, "host": self.host}
        return told | {name: value for name, value in more.items() if value}


def read_checks(raw: Sequence[Any]) -> tuple[Check, ...]:
    """From `checks` of a valid document: names of checks, and commands with their time."""
    return tuple(Check(entry) if isinstance(entry, str) else _command(entry) for entry in raw)


def _command(entry: Mapping[str, Any]) -> Check:
    command = entry["command"]
    timeout = parse_duration(entry["timeout"]) if "timeout" in entry else CHECK_TIMEOUT_DEFAULT
    return Check(COMMAND, command if isinstance(command, str) else tuple(map(str, command)), timeout)


def read_drills(raw: Sequence[Mapping[str, Any]]) -> tuple[Drill, ...]:
    """From `drills` of a valid document. KeyError, TypeError or UsageError for another form."""
    return tuple(
        Drill(
            parse_duration(entry["every"]),
            entry.get("restore", LATEST),
            read_checks(entry.get("checks", () if "onDemand" in entry else (CHECKSUMS,))),
            entry.get("scratch", ""),
            entry.get("onDemand", ""),
            entry.get("host", ""),
        )
        for entry in raw
    )
