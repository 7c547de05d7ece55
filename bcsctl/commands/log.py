"""bcsctl log: every version of a path."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bcsctl.commands.ls import group_name, user_name
from bcsctl.completing import ADDRESSES
from bcsctl.entries import left_at, path_json
from bcsctl.opening import named, scene
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, local_time, print_json, printable, say, table, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.counts import counted
from engine.model.errors import UsageError
from engine.model.times import format_size, format_time

if TYPE_CHECKING:
    from engine.query.timeline import Aside, Version

COLOURS = {"created": GOOD, "removed": BAD}


@click.command("log", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("address", metavar="ADDRESS:PATH", shell_complete=ADDRESSES)
@click.option("--limit", type=click.IntRange(min=1), help="How many of each history, the latest last.")
@click.option("--no-follow", is_flag=True, help="Only what was at this very path, not what a renamed file was before.")
@site_option
@home_option
@json_option
def command(address: str, limit: int | None, no_follow: bool, home: str | None, as_json: bool) -> None:
    """List every version of a path: when it came, changed and went, and how to bring each back.

    A file that was renamed is followed to its earlier names. AT is the first point that holds the
    version, WRITTEN the file's own time. Who wrote it is known where it was a restore in place.
    What a recovery to an earlier moment has left beside the history is listed after it.

    \b
    Example:  bcsctl log finance/sf-db1/files:/srv/finance/q3.ods
    """
    wanted = named(address)
    if wanted.path is None:
        raise UsageError("log needs a path", hint=f"write {wanted.address}:/the/path")
    with scene(settings(home), wanted.address) as there:
        from engine.query.timeline import all_versions

        found, aside = all_versions(there.session, there.stream.id, wanted.path, follow=not no_follow)
    if as_json:
        entries = [version_json(one, wanted.address) for one in _last(found, limit)]
        beside = [aside_json(one, wanted.address, limit) for one in aside]
        print_json({"address": wanted.address, **path_json(wanted.path), "entries": entries, "beside": beside})
        return
    if found:
        render(_last(found, limit), len(found), wanted.address)
    else:
        say(
            f"in the present history there never was a {printable(os.fsdecode(wanted.path))}; beside it there was", BUSY
        )
    for one in aside:
        render_aside(one, wanted.address, limit)


def _last(found: Sequence[Version], limit: int | None) -> Sequence[Version]:
    return found[-limit:] if limit else found


def aside_json(aside: Aside, address: str, limit: int | None) -> dict[str, Any]:
    """What a branch has of the path; `damaged` is null, or why it can't be read."""
    return {
        "left": str(aside.branch.beside.left),
        "cause": aside.branch.beside.cause,
        "entries": [version_json(one, address) for one in _last(aside.versions, limit)],
        "damaged": aside.damaged or None,
    }


def render_aside(aside: Aside, address: str, limit: int | None) -> None:
    """The same table of a branch, below where it was left."""
    tell()
    tell(f"{left_at(aside.branch.beside)}:", BUSY)
    if aside.damaged:
        tell(f"it can't be read: {aside.damaged}", BAD)
    else:
        render(_last(aside.versions, limit), len(aside.versions), address)


def version_json(version: Version, address: str) -> dict[str, Any]:
    """One version, and the point at which it can be had; `other` is the path it was renamed from or to."""
    return {
        "point": str(version.position),
        "at": format_time(version.at),
        "change": version.change,
        "size": version.size,
        "mode": version.mode,
        **(path_json(version.other, "other") if version.other else {"other": None}),
        **path_json(version.path),
        "mtime_ns": version.mtime_ns,
        "uid": version.uid,
        "gid": version.gid,
        "restored_by": version.restored_by or None,
        "restore": restore_command(version, address),
    }


def restore_command(version: Version, address: str) -> str | None:
    """The command that brings a version back, to where one stands; None where there is nothing to bring back."""
    if version.size is None:
        return None
    what = shlex.quote(f"{address}:{os.fsdecode(version.path)}")
    return f"bcsctl restore {what} --at point:{version.position} --to restored"


def render(found: Sequence[Version], count: int, address: str) -> None:
    """A table, oldest first."""
    rows = [
        [
            local_time(one.at, 6),
            (one.change + (f" {os.fsdecode(one.other)}" if one.other else ""), COLOURS.get(one.change, BUSY)),
            "-" if one.size is None else format_size(one.size),
            "-" if one.mode is None else f"{one.mode:04o}",
            "-" if one.uid is None or one.gid is None else f"{user_name(one.uid)}:{group_name(one.gid)}",
            "-" if one.mtime_ns is None else local_time(one.mtime_ns // 1000),
            f"restored by {one.restored_by}" if one.restored_by else "",
            (restore_command(one, address) or "", DIM),
        ]
        for one in found
    ]
    titles = ["AT", "CHANGE", "SIZE", "MODE", "OWNER", "WRITTEN", "BY", "BRING IT BACK"]
    if not any(one.restored_by for one in found):
        del titles[6]
        for row in rows:
            del row[6]
    table(titles, rows, right=("SIZE",))
    say(counted(count, "version"), DIM)
