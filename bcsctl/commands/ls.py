"""bcsctl ls: a directory as it was."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import click

from bcsctl.entries import as_of, inode_json, mode_text, path_json, point_json
from bcsctl.opening import named, scene
from bcsctl.options import at_option, exits
from bcsctl.output import DIM, json_option, local_time, print_json, say, table
from bcsctl.restore_view import unreadable
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.points import Point
from engine.model.times import format_size

if TYPE_CHECKING:
    from engine.query.tree import Entry

COLOURS = {"d": "blue", "l": "cyan", "p": "yellow", "s": "magenta", "b": "yellow", "c": "yellow"}


@click.command("ls", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("address", metavar="ADDRESS[:PATH]")
@at_option
@click.option("--recursive", "-R", is_flag=True, help="All that is below, not only the directory's own entries.")
@site_option
@home_option
@json_option
def command(address: str, at: str, recursive: bool, home: str | None, as_json: bool) -> None:
    """List a directory as it was.

    Without PATH: the content of a source with one path, the paths of a source with several. What
    its host could not read by then is named below the table: its bytes are older.

    \b
    Example:  bcsctl ls finance/sf-db1/files:/srv/finance --at -10m
    """
    wanted = named(address)
    with scene(settings(home), wanted.address) as there:
        from engine.query.applied import paths_of
        from engine.query.listing import listing
        from engine.query.unreadable import stale
        from engine.recovery.told import unreadable_json

        point = there.point(at)
        own = paths_of(there.journal, there.stream.id, point.at)
        found = listing(there.session, there.stream.id, point.position, wanted.path, own, recursive)
        pairs = ((entry.path, entry.inode) for entry in found)
        older = unreadable_json(stale(there.session, there.stream.id, point.position, pairs))
    if as_json:
        rows = [{**path_json(entry.path), **inode_json(entry.inode)} for entry in found]
        print_json({"address": wanted.address, **point_json(point), "entries": rows, "unreadable": older})
        return
    render(found, point, whole=recursive or (wanted.path is None and len(own) > 1))
    unreadable(older)


def render(found: Sequence[Entry], point: Point, whole: bool) -> None:
    """A table as `ls -l` has it, with whole paths or names alone."""
    say(as_of(point), DIM)
    rows = []
    for entry in found:
        inode = entry.inode
        name = entry.path if whole else entry.path.rsplit(b"/", 1)[1] or b"/"
        text = name.decode("utf-8", "surrogateescape")
        if inode.type == "l":
            text += " -> " + inode.target.decode("utf-8", "surrogateescape")
        rows.append(
            [
                mode_text(inode),
                user_name(inode.uid),
                group_name(inode.gid),
                format_size(inode.size) if inode.type == "f" else "-",
                local_time(inode.mtime_ns // 1000),
                (text, COLOURS.get(inode.type)),
            ]
        )
    table(["MODE", "OWNER", "GROUP", "SIZE", "MODIFIED", "NAME"], rows, right=("SIZE",))


@cache
def user_name(uid: int) -> str:
    """The owner's name on this machine, or the number: the files may come from another one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@cache
def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
