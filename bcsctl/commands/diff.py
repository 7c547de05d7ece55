"""bcsctl diff: two moments of a source, compared; or one and the disk as it is now."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.completing import ADDRESSES, MOMENT
from bcsctl.diff_folded import folded
from bcsctl.disk_diff import Compared, compare, tell_unreadable
from bcsctl.entries import damage_is_a_difference, inode_json, path_json, when
from bcsctl.lines_diff import show_lines, text_sides
from bcsctl.opening import Named, named, scene
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, local_time, print_json, printable, say, tell
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.env.clock import SYSTEM
from engine.model.counts import counted
from engine.model.errors import UsageError
from engine.model.times import format_size, format_time

if TYPE_CHECKING:
    from engine.query.diff import Change

SIGNS = {"added": ("+", GOOD), "changed": ("~", BUSY), "removed": ("-", BAD), "renamed": (">", "cyan")}


class DiffCommand(SiteCommand):
    """With --at it is about this machine's disk, so it runs here whatever the site."""

    def invoke(self, ctx: click.Context) -> Any:
        return click.Command.invoke(self, ctx) if ctx.params["at"] is not None else super().invoke(ctx)


@click.command("diff", cls=DiffCommand, epilog=exits(4, 5, 6))
@click.argument("address", metavar="ADDRESS[:PATH]", shell_complete=ADDRESSES)
@click.option("--from", "before", metavar="MOMENT", help="The earlier moment, as --at of `ls` takes it.")
@click.option("--to", "after", metavar="MOMENT", help="The later one (default: latest).")
@click.option("--at", metavar="MOMENT", shell_complete=MOMENT, help="Compare this moment with the disk as it is now.")
@click.option(
    "--disk",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --at: where a copy lies, as `restore --to` makes it, if not at the source's own place.",
)
@click.option("--quick", is_flag=True, help="With --at: take files of the same size and time for equal.")
@click.option("--content", is_flag=True, help="The lines that differ in one text file, as `diff -u` shows them.")
@click.option("--all", "whole", is_flag=True, help="A line also for each name below a renamed or removed directory.")
@site_option
@home_option
@json_option
def command(
    address: str,
    before: str | None,
    after: str | None,
    at: str | None,
    disk: Path | None,
    quick: bool,
    content: bool,
    whole: bool,
    home: str | None,
    as_json: bool,
) -> int:
    """Compare two moments of a source, or one with the disk as it is now; or of what is at PATH in it.

    + added, ~ changed, - removed, > renamed; ! could not be read on the disk (then the exit code is 1). Contents are
    compared by their hashes, of every file. What lies below a directory that was renamed or removed is counted.

    \b
    Example:  bcsctl diff finance/sf-db1/files --from -1h
              bcsctl diff finance/sf-db1/files --at -1h
              bcsctl diff finance/sf-db1/files:/srv/finance/notes.txt --at -1h --content
    """
    wanted, where = named(address), settings(home)
    _check(before, after, at, disk, quick)
    if content and wanted.path is None:
        raise UsageError("--content shows one file", hint=f"write {wanted.address}:/the/file")
    with damage_is_a_difference():
        if content:
            sides = text_sides(where, wanted, before, after or "latest", at, disk)
            return show_lines(wanted, *sides, as_json)
        if at is not None:
            compared = compare(where, wanted, at, disk, quick=quick, quiet=as_json)
            return show_disk(wanted, compared, disk, as_json, whole=whole)
        assert before is not None
        return _two_moments(where, wanted, before, after or "latest", as_json, whole=whole)


def _check(before: str | None, after: str | None, at: str | None, disk: Path | None, quick: bool) -> None:
    both = "either --from (and --to) for two moments, or --at for one and the disk as it is now"
    if at is not None and (before is not None or after is not None):
        raise UsageError("--at compares with the disk, --from and --to two moments", hint=both)
    if at is None and before is None:
        raise UsageError("compared with what?", hint=both)
    if at is None and (disk is not None or quick):
        raise UsageError(f"{'--disk' if disk else '--quick'} is about the disk", hint="it goes with --at")


def _two_moments(where: Settings, wanted: Named, before: str, after: str, as_json: bool, *, whole: bool) -> int:
    with scene(where, wanted.address) as there:
        from engine.query.diff import diff

        left, right = there.point(before), there.point(after)
        found = diff(there.session, there.stream.id, left.position, right.position, wanted.path or b"/")
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
        render(found, when(left), when(right), whole=whole)
    return 0


def show_disk(wanted: Named, compared: Compared, directory: Path | None, as_json: bool, *, whole: bool = False) -> int:
    """What differs from the disk; 1 when some of it could not be read."""
    found, now = compared.found, SYSTEM.now()
    if as_json:
        to = {"disk": str(directory.absolute()) if directory else True, "at": format_time(now)}
        print_json(
            {
                "address": wanted.address,
                "from": {"point": str(compared.point.position), "at": format_time(compared.point.at)},
                "to": to,
                "entries": [change_json(change) for change in found.changes],
                "unreadable": [{**path_json(path), "reason": why} for path, why in found.unreadable],
            }
        )
    else:
        place = f" in {directory}" if directory else ""
        render(found.changes, when(compared.point), f"the disk{place} at {local_time(now)}", whole=whole)
        tell_unreadable(found.unreadable)
    return 1 if found.unreadable else 0


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


def render(found: Sequence[Change], left: str, right: str, *, whole: bool = False) -> None:
    """A line a change, then how many there are; `left` and `right` name the moments. Unless `whole`, names that only
    went with their directory are counted on its line."""
    say(f"from {left}", DIM)
    say(f"  to {right}", DIM)
    for change, below in [(change, 0) for change in found] if whole else folded(found):
        sign, colour = SIGNS[change.kind]
        name = printable(os.fsdecode(change.path))
        if change.old_path:
            name = f"{printable(os.fsdecode(change.old_path))} -> {name}"
        with_it = f"  and {counted(below, 'name')} below" if below else ""
        tell(f"{sign} {name}{details(change)}{with_it}", colour)
    counts = [f"{sum(change.kind == kind for change in found):,} {kind}" for kind in SIGNS]
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
    if left.target != right.target and right.type == "l":
        said.append(f"to {printable(os.fsdecode(right.target))}")
    if left.xattrs != right.xattrs:
        said.append("extended attributes")
    if left.rdev != right.rdev and right.type in "cb":
        said.append("device number")
    if left.mtime_ns != right.mtime_ns and right.type == "f":
        said.append(f"written {local_time(right.mtime_ns // 1000)}")
    return f"  ({', '.join(said)})" if said else ""
