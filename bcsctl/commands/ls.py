"""bcsctl ls: a directory as it was."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from bcsctl.completing import ADDRESSES
from bcsctl.entries import as_of, damage_is_a_difference, inode_json, mode_text, path_json, point_json
from bcsctl.opening import scene, source_named
from bcsctl.options import at_option, exits
from bcsctl.output import DIM, json_option, local_time, print_json, say, table
from bcsctl.restoring.view import unreadable
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.points import Point
from engine.model.times import format_size

if TYPE_CHECKING:
    from engine.query.tree import Entry

COLOURS = {"d": "blue", "l": "cyan", "p": "yellow", "s": "magenta", "b": "yellow", "c": "yellow"}


@click.command("ls", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("address", metavar="ADDRESS[:PATH]", shell_complete=ADDRESSES)
@at_option
@click.option("--recursive", "-R", is_flag=True, help="All that is below, not only the directory's own entries.")
@click.option("--sha256", "hashed", is_flag=True, help="Read every file listed, and show the SHA-256 of all of it.")
@site_option
@home_option
@json_option
def command(address: str, at: str, recursive: bool, hashed: bool, home: str | None, as_json: bool) -> None:
    """List a directory as it was.

    Without PATH: the content of a source with one path, the paths of a source with several. What
    its host could not read by then is named below the table: its bytes are older.

    \b
    Example:  bcsctl ls finance/sf-db1/files:/srv/finance --at -10m
    """
    where = settings(home)
    wanted = source_named(where, address)
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        from engine.query.applied import paths_of, source_of
        from engine.query.listing import directory_listed, listing
        from engine.query.unreadable import stale
        from engine.query.whole_files import hashes
        from engine.recovery.told import unreadable_json

        point = there.point(at)
        own = paths_of(there.journal, there.stream.id, point.at)
        path = None if wanted.path is None else there.path(point, wanted.path)
        found = listing(there.session, there.stream.id, point.position, path, own, recursive)
        pairs = ((entry.path, entry.inode) for entry in found)
        older = unreadable_json(stale(there.session, there.stream.id, point.position, pairs))
        inodes = [entry.inode for entry in found]
        sums = hashes(there.session, there.journal, there.stream.id, point.position, inodes) if hashed else {}
        if as_json:
            top = directory_listed(there.session, there.stream.id, point.position, path, own)
            source = source_of(there.journal, there.stream.id, point.at) or {}
    if as_json:
        print_json(
            {
                "address": wanted.address,
                **point_json(point),
                "entries": [entry_json(entry, sums) if hashed else entry_json(entry) for entry in found],
                "directory": entry_json(top) if top else None,
                "source": {"paths": source.get("paths", ["/"]), "exclude": source.get("exclude", [])},
                "unreadable": older,
            }
        )
        return
    render(found, point, whole=recursive or (wanted.path is None and len(own) > 1), sums=sums)
    unreadable(older)


def entry_json(entry: Entry, sums: Mapping[int, str] | None = None) -> dict[str, Any]:
    """One entry; with `sums` its hash too, null for what is no file."""
    more = {} if sums is None else {"sha256": sums.get(entry.inode.file_id)}
    return {**path_json(entry.path), **inode_json(entry.inode), **more}


def render(found: Sequence[Entry], point: Point, whole: bool, sums: Mapping[int, str] | None = None) -> None:
    """A table as `ls -l` has it, with whole paths or names alone; with `sums` (by file_id) a hash before each name."""
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
                *([sums.get(inode.file_id, "-")] if sums else []),
                (text, COLOURS.get(inode.type)),
            ]
        )
    titles = ["MODE", "OWNER", "GROUP", "SIZE", "MODIFIED", *(["SHA-256"] if sums else []), "NAME"]
    table(titles, rows, right=("SIZE",))


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
