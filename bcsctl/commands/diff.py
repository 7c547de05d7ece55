"""bcsctl diff: two moments of a source, compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bcsctl.entries import inode_json, path_json, when
from bcsctl.opening import named, scene
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, local_time, print_json, printable, say, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.points import Point
from engine.model.times import format_size, format_time

if TYPE_CHECKING:
    from engine.query.diff import Change

SIGNS = {"added": ("+", GOOD), "changed": ("~", BUSY), "removed": ("-", BAD), "renamed": (">", "cyan")}


@click.command("diff", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("address", metavar="ADDRESS[:PATH]")
@click.option("--from", "before", required=True, metavar="MOMENT", help="The earlier moment, as --at of `ls` takes it.")
@click.option("--to", "after", default="latest", show_default=True, metavar="MOMENT", help="The later one.")
@site_option
@home_option
@json_option
def command(address: str, before: str, after: str, home: str | None, as_json: bool) -> None:
    """Compare two moments of a source, or of what is at PATH in it.

    + added, ~ changed, - removed, > renamed.

    \b
    Example:  bcsctl diff finance/sf-db1/files --from -1h
    """
    wanted = named(address)
    with scene(settings(home), wanted.address) as there:
        from engine.query.diff import diff

        left, right = there.point(before), there.point(after)
        path = wanted.path or b"/"
        found = diff(there.session, there.stream.id, left.position, right.position, path)
    if as_json:
        print_json(
            {
                "address": wanted.address,
                "from": {"point": str(left.position), "at": format_time(left.at)},
                "to": {"point": str(right.position), "at": format_time(right.at)},
                "entries": [change_json(change) for change in found],
            }
        )
    else:
        render(found, left, right)


def change_json(change: Change) -> dict[str, Any]:
    """One change; a side on which the path was not there is null."""
    return {
        **path_json(change.path),
        "change": change.kind,
        **(path_json(change.old_path, "old_path") if change.old_path else {}),
        "content": change.content,
        "attributes": change.attributes,
        "from": inode_json(change.left) if change.left else None,
        "to": inode_json(change.right) if change.right else None,
    }


def render(found: Sequence[Change], left: Point, right: Point) -> None:
    """A line a change, then how many there are."""
    say(f"from {when(left)}", DIM)
    say(f"  to {when(right)}", DIM)
    for change in found:
        sign, colour = SIGNS[change.kind]
        name = printable(os.fsdecode(change.path))
        if change.old_path:
            name = f"{printable(os.fsdecode(change.old_path))} -> {name}"
        tell(f"{sign} {name}{details(change)}", colour)
    counts = [f"{sum(change.kind == kind for change in found)} {kind}" for kind in SIGNS]
    say(", ".join(counts) if found else "no difference", DIM)


def details(change: Change) -> str:
    """What changed about it, for the eye."""
    left, right = change.left, change.right
    if left is None or right is None:
        there = left or right
        return f"  ({format_size(there.size)})" if there is not None and there.type == "f" else ""
    said = []
    if left.type != right.type:
        said.append(f"type {left.type} -> {right.type}")
    if left.size != right.size and right.type == "f":
        said.append(f"{format_size(left.size)} -> {format_size(right.size)}")
    elif change.content:
        said.append("content")
    if left.mode != right.mode:
        said.append(f"mode {left.mode:04o} -> {right.mode:04o}")
    if (left.uid, left.gid) != (right.uid, right.gid):
        said.append(f"owner {left.uid}:{left.gid} -> {right.uid}:{right.gid}")
    if left.mtime_ns != right.mtime_ns and right.type == "f":
        said.append(f"written {local_time(right.mtime_ns // 1000)}")
    return f"  ({', '.join(said)})" if said else ""
