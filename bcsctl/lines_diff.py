"""What `diff --content` shows: one text file at two moments, or at one and on the disk, line by line."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcsctl.disk_diff import on_disk
from bcsctl.opening import Named, Scene, scene
from bcsctl.output import BAD, DIM, GOOD, local_time, painted, print_json, printable, say
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.model.errors import NothingThere, UsageError
from engine.model.times import format_size

if TYPE_CHECKING:
    from engine.env.credentials import Credential

_COLOURS = {b"+": GOOD, b"-": BAD, b"@": "cyan"}


@dataclass(frozen=True, slots=True)
class Side:
    """The bytes of a file, None where there was none, and how its moment is called."""

    data: bytes | None
    label: str


def text_sides(
    where: Settings, wanted: Named, before: str | None, after: str, at: str | None, disk: Path | None
) -> tuple[Side, Side]:
    """Both sides. NothingThere when the file is on neither; UsageError for what is too large to be read by anybody."""
    assert wanted.path is not None
    if at is None:
        assert before is not None
        with scene(where, wanted.address) as there:
            sides = _kept(there, wanted.path, before), _kept(there, wanted.path, after)
    else:
        now = _on_disk(wanted, disk)  # first: it says what makes no sense at all
        if where.site is None:
            with scene(where, wanted.address) as there:
                sides = _kept(there, wanted.path, at), now
        else:
            sides = _of_node(where.site, wanted, at), now
    if sides[0].data is None and sides[1].data is None:
        raise NothingThere(
            f"there is no {printable(os.fsdecode(wanted.path))} on either side", hint="`bcsctl log` tells when it was"
        )
    return sides


def show_lines(wanted: Named, left: Side, right: Side, as_json: bool) -> int:
    """Print the lines that differ; of what is no text only whether it differs."""
    from engine.recovery.on_disk.lines import is_text, unified

    assert wanted.path is not None
    old, new = left.data or b"", right.data or b""
    text = is_text(old) and is_text(new)
    name = printable(os.fsdecode(wanted.path))
    lines = list(unified(old, new, f"{name}\t{left.label}", f"{name}\t{right.label}")) if text else []
    if as_json:
        shown = b"".join(lines).decode("utf-8", "surrogateescape") if text else None
        told = {"address": wanted.address, "path": os.fsdecode(wanted.path), "from": left.label, "to": right.label}
        print_json({**told, "text": text, "differs": left.data != right.data, "diff": shown})
        return 0
    if left.data == right.data:
        say("no difference", DIM)
    elif not text:
        say(f"they differ, and are no text: {_size(left)} {left.label}, {_size(right)} {right.label}")
    for number, line in enumerate(lines):
        colour = _COLOURS.get(line[:1]) if number > 1 else "bold"
        body = painted(line[:-1].decode("utf-8", "surrogateescape"), colour)
        sys.stdout.buffer.write(body.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()
    return 0


def _size(side: Side) -> str:
    return "nothing" if side.data is None else format_size(len(side.data))


def _kept(there: Scene, path: bytes, moment: str) -> Side:
    from engine.query.content import content

    point = there.point(moment)
    label = f"{local_time(point.at, 6)} point:{point.position}"
    try:
        entry, parts = content(there.session, there.journal, there.stream, point.position, path)
    except NothingThere as error:
        if error.details.get("not_a_file"):
            raise
        return Side(None, label)
    _check_size(path, entry.inode.size)
    return Side(b"".join(parts), label)


def _on_disk(wanted: Named, directory: Path | None) -> Side:
    assert wanted.path is not None
    path = Path(os.fsdecode(on_disk(wanted.address, wanted.path, directory)))
    label = f"on disk {local_time(SYSTEM.now())}"
    try:
        if not path.is_file():
            path.lstat()
            raise NothingThere(f"{path} is no file", hint="--content shows one file")
        _check_size(wanted.path, path.stat().st_size)
        return Side(path.read_bytes(), label)
    except (FileNotFoundError, NotADirectoryError):
        return Side(None, label)


def _of_node(site: Credential, wanted: Named, at: str) -> Side:
    """As a site's node has it; what was not there then is told by the node and ends the command."""
    import base64

    from bcsctl.disk_diff import asked

    assert wanted.path is not None
    told = asked(site, ["cat", "--json", f"--at={at}", "--", f"{wanted.address}:{os.fsdecode(wanted.path)}"])
    return Side(base64.b64decode(told["content_base64"]), f"{told['at']} point:{told['point']}")


def _check_size(path: bytes, size: int) -> None:
    from engine.recovery.on_disk.lines import BYTES_MAX

    if size > BYTES_MAX:
        raise UsageError(
            f"{os.fsdecode(path)} has {format_size(size)}: lines are shown of up to {format_size(BYTES_MAX)}",
            hint="leave --content out, or compare what `bcsctl cat` gives",
        )
