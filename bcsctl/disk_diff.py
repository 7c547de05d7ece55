"""What `diff --at` compares: a tree as it was, from the journal here or from a site's node, and this machine's disk."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.opening import Named, scene
from bcsctl.output import progress, say
from bcsctl.restoring.view import point_of
from bcsctl.settings import Settings
from engine.model import xattrs
from engine.model.errors import UsageError
from engine.model.events import Inode
from engine.model.ids import parse_address
from engine.model.points import Point

if TYPE_CHECKING:
    from engine.env.credentials import Credential
    from engine.recovery.on_disk.differing import Differences, Same
    from engine.recovery.on_disk.places import Place


@dataclass(frozen=True, slots=True)
class Compared:
    """The point that was compared with the disk, and what differs."""

    point: Point
    found: Differences


def compare(where: Settings, wanted: Named, at: str, directory: Path | None, *, quick: bool, quiet: bool) -> Compared:
    """Compare a source, or what is at a path in it, with its place on this disk, or with a copy in `directory`.

    UsageError where the source lives on another host and no directory is named.
    """
    need_here(wanted.address, directory)
    if where.site is not None:
        return _with_node(where.site, wanted, at, directory, quick=quick, quiet=quiet)
    with scene(where, wanted.address) as there:
        from engine.model.errors import NothingThere
        from engine.query.applied import source_of
        from engine.query.tree import as_entries, tree_table
        from engine.recovery.on_disk.contents import same_as_kept

        point = there.point(at)
        source = source_of(there.journal, there.stream.id, point.at) or {"paths": ["/"]}
        places = _places(source, wanted.path, directory, (where.home,))
        entries: list[tuple[bytes, Inode]] = []
        for place in places:
            try:
                table = tree_table(there.session, there.stream.id, point.position, place.tree)
            except NothingThere:
                continue
            entries += [(entry.path, entry.inode) for entry in as_entries(table)]
        ids = [inode.file_id for _, inode in entries if inode.type == "f"]
        same = same_as_kept(there.session, there.journal, there.stream, point.position, _few(ids))
        return Compared(point, _compared(entries, places, same, quick=quick, quiet=quiet))


def need_here(address: str, directory: Path | None) -> None:
    """UsageError where the disk of this machine is not the source's, and no directory is named."""
    from engine.recovery.on_disk.places import is_here

    host = parse_address(address).host
    if directory is None and not is_here(host):
        raise UsageError(
            f"{address} lives on {host}, and this is {os.uname().nodename}",
            hint="--from instead of --at compares with the newest state that its agent told; --disk DIR with a copy "
            "that lies here",
        )


def on_disk(address: str, path: bytes, directory: Path | None) -> bytes:
    """Where one file of a source is on this disk. What --disk names lands things as `restore --to` does."""
    need_here(address, directory)
    return path if directory is None else os.path.join(os.fsencode(directory.absolute()), os.path.basename(path))


def _with_node(
    site: Credential, wanted: Named, at: str, directory: Path | None, *, quick: bool, quiet: bool
) -> Compared:
    """A site's node tells what was there, with the hashes of whole files."""
    from engine.recovery.on_disk.contents import same_as_hashed

    options = ["--recursive", "--json", f"--at={at}", *([] if quick else ["--sha256"])]
    named = wanted.address if wanted.path is None else f"{wanted.address}:{os.fsdecode(wanted.path)}"
    told = asked(site, ["ls", *options, "--", named])
    rows = [*([told["directory"]] if told["directory"] else []), *told["entries"]]
    entries = [(_bytes(row, "path"), _inode(row)) for row in rows]
    hashed = {_bytes(row, "path"): str(row["sha256"]) for row in told["entries"] if row.get("sha256")}
    places = _places(told["source"], wanted.path, directory, ())
    entries = [each for each in entries if any(_below(each[0], place) for place in places)]
    same = same_as_hashed(hashed)
    return Compared(point_of(told), _compared(entries, places, same, quick=quick, quiet=quiet))


def asked(site: Credential, argv: list[str]) -> dict[str, Any]:
    """What a command answers on the site's node. Ends this one with the exit code that it has there."""
    from bcsctl.remote import captured

    code, out = captured(site, argv)
    if code:
        sys.stdout.buffer.write(out)
        raise click.exceptions.Exit(code)
    answer: dict[str, Any] = json.loads(out)
    return answer


def _places(source: Any, path: bytes | None, directory: Path | None, own: tuple[Path, ...]) -> list[Place]:
    from engine.recovery.on_disk.places import copied_places, own_places

    return own_places(source, path, own) if directory is None else copied_places(source, path, directory)


def _compared(
    entries: list[tuple[bytes, Inode]], places: list[Place], same: Same, *, quick: bool, quiet: bool
) -> Differences:
    from engine.recovery.on_disk.differing import differences

    with progress(quiet) as drawn:
        task = drawn.add_task("comparing", total=sum(inode.size for _, inode in entries if inode.type == "f") or None)
        advance: Callable[[int], None] = lambda count: drawn.update(task, advance=count)  # noqa: E731
        return differences(entries, places, same, quick=quick, progress=advance)


def _few(ids: list[int]) -> list[int] | None:
    from engine.recovery.restoring import FEW_FILES

    return ids if len(ids) <= FEW_FILES else None


def _below(path: bytes, place: Place) -> bool:
    from engine.drivers.files import within

    return within(path, place.tree)


def _bytes(row: dict[str, Any], key: str) -> bytes:
    kept = row.get(f"{key}_base64")
    return base64.b64decode(kept) if kept else os.fsencode(row[key])


def _inode(row: dict[str, Any]) -> Inode:
    target = _bytes(row, "target") if row["target"] is not None else b""
    kept = {os.fsencode(name): base64.b64decode(value) for name, value in row["xattrs"].items()}
    return Inode(
        *(0, 0, 0, row["type"], row["mode"], row["uid"], row["gid"], row["size"], row["mtime_ns"]),
        *(row["rdev"], target, xattrs.encode(kept) if kept else b""),
    )


def tell_unreadable(rows: list[tuple[bytes, str]]) -> None:
    """What the disk would not show, for the eye."""
    from bcsctl.output import BAD, printable

    for path, why in rows:
        say(f"! {printable(os.fsdecode(path))}: {why}", BAD)
    if rows:
        say(f"{len(rows):,} could not be read, and may differ", BAD)
