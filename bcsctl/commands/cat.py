"""bcsctl cat: a file as it was, byte for byte."""

from __future__ import annotations

import base64
import sys

import click

from bcsctl.completing import ADDRESSES
from bcsctl.entries import as_of, damage_is_a_difference, inode_json, path_json, point_json
from bcsctl.opening import scene, source_named
from bcsctl.options import at_option, exits
from bcsctl.output import DIM, json_option, print_json, say
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.errors import UsageError


@click.command("cat", cls=SiteCommand, epilog=exits(4, 5, 6))
@click.argument("address", metavar="ADDRESS:PATH", shell_complete=ADDRESSES)
@at_option
@site_option
@home_option
@json_option
def command(address: str, at: str, home: str | None, as_json: bool) -> None:
    """Print a file as it was.

    Its bytes go to standard output as they are; with --json they come as base64.

    \b
    Example:  bcsctl cat finance/sf-db1/files:/srv/finance/q3.ods --at -1h > q3.ods
    """
    where = settings(home)
    wanted = source_named(where, address)
    if wanted.path is None:
        raise UsageError("cat needs a path", hint=f"write {wanted.address}:/the/file")
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        from engine.query.content import content

        point = there.point(at)
        path = there.path(point, wanted.path)
        entry, parts = content(there.session, there.journal, there.stream, point.position, path)
        if as_json:
            text = base64.b64encode(b"".join(parts)).decode("ascii")
            row = {**path_json(entry.path), **inode_json(entry.inode), "content_base64": text}
            print_json({"address": wanted.address, **point_json(point), **row})
            return
        if sys.stderr.isatty() or point.beside:
            say(as_of(point), DIM)
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
