"""bcsctl log: every version of a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bcsctl.commands.validate import counted
from bcsctl.entries import path_json
from bcsctl.opening import named, scene
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, local_time, print_json, say, table
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.errors import UsageError
from engine.model.times import format_size, format_time

if TYPE_CHECKING:
    from engine.query.timeline import Version

COLOURS = {"created": GOOD, "removed": BAD}


@click.command("log", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("address", metavar="ADDRESS:PATH")
@click.option("--limit", type=click.IntRange(min=1), help="How many, the latest last.")
@site_option
@home_option
@json_option
def command(address: str, limit: int | None, home: str | None, as_json: bool) -> None:
    """List every version of a path: when it came, changed and went.

    \b
    Example:  bcsctl log finance/sf-db1/files:/srv/finance/q3.ods
    """
    wanted = named(address)
    if wanted.path is None:
        raise UsageError("log needs a path", hint=f"write {wanted.address}:/the/path")
    with scene(settings(home), wanted.address) as there:
        from engine.query.timeline import versions

        found = versions(there.session, there.stream.id, wanted.path)
    count = len(found)
    found = found[-limit:] if limit else found
    if as_json:
        print_json(
            {"address": wanted.address, **path_json(wanted.path), "entries": [version_json(one) for one in found]}
        )
    else:
        render(found, count)


def version_json(version: Version) -> dict[str, Any]:
    """One version, and the point at which it can be had; `other` is the path it was renamed from or to."""
    return {
        "point": str(version.position),
        "at": format_time(version.at),
        "change": version.change,
        "size": version.size,
        "mode": version.mode,
        **(path_json(version.other, "other") if version.other else {"other": None}),
    }


def render(found: Sequence[Version], count: int) -> None:
    """A table, oldest first."""
    rows = [
        [
            local_time(one.at, 6),
            f"point:{one.position}",
            (one.change + (f" {os.fsdecode(one.other)}" if one.other else ""), COLOURS.get(one.change, BUSY)),
            "-" if one.size is None else format_size(one.size),
            "-" if one.mode is None else f"{one.mode:04o}",
        ]
        for one in found
    ]
    table(["AT", "POINT", "CHANGE", "SIZE", "MODE"], rows, right=("SIZE",))
    say(counted(count, "version"), DIM)
