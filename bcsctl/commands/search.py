"""bcsctl search: names in all of the history, by name, size, time and content."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.completing import ADDRESSES
from bcsctl.entries import damage_is_a_difference, path_json
from bcsctl.opening import journal
from bcsctl.options import exits, period
from bcsctl.output import BAD, DIM, json_option, local_time, print_json, say, table
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.env.clock import SYSTEM
from engine.model.counts import counted
from engine.model.errors import UsageError
from engine.model.points import beside_json
from engine.model.times import format_size, format_time, parse_size

if TYPE_CHECKING:
    from engine.journal.open import Journal
    from engine.query.alike import Judge
    from engine.query.search import Hit

_HEX = re.compile(r"[0-9a-fA-F]{64}")


class SearchCommand(SiteCommand):
    """A file of this machine is no node's: of a site's history its size and hash are asked for instead."""

    def invoke(self, ctx: click.Context) -> Any:
        like = ctx.params["like"]
        if like is not None and settings(ctx.params.get("home")).site is not None:
            ctx.params |= {"like": None, "sha256": _sha256(like), "size": str(like.stat().st_size)}
            for name in ("sha256", "size"):
                ctx.set_parameter_source(name, click.core.ParameterSource.COMMANDLINE)
            ctx.set_parameter_source("like", click.core.ParameterSource.DEFAULT)
        return super().invoke(ctx)


@click.command("search", cls=SearchCommand, epilog=exits(4, 5, 6))
@click.argument("pattern", required=False)
@click.option("--source", "address", metavar="ADDRESS", shell_complete=ADDRESSES, help="In this source alone.")
@click.option("--from", "from_at", metavar="TIME", help="There at this time or later.")
@click.option("--to", "to_at", metavar="TIME", help="There at this time or earlier.")
@click.option("--larger", metavar="SIZE", help="At least this large, as 10MiB.")
@click.option("--smaller", metavar="SIZE", help="At most this large.")
@click.option("--size", metavar="SIZE", help="Of exactly this size.")
@click.option("--sha256", metavar="HEX", help="With this SHA-256 of the whole file; --size makes it much faster.")
@click.option("--blake3", metavar="HEX", help="With this BLAKE3 of the whole file.")
@click.option(
    "--like",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With the same bytes as this file here.",
)
@click.option("--deleted", is_flag=True, help="Only what is there no more.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many.")
@site_option
@home_option
@json_option
def command(
    pattern: str | None,
    address: str | None,
    from_at: str | None,
    to_at: str | None,
    larger: str | None,
    smaller: str | None,
    size: str | None,
    sha256: str | None,
    blake3: str | None,
    like: Path | None,
    deleted: bool,
    limit: int,
    home: str | None,
    as_json: bool,
) -> None:
    """Find files in all of the history, deleted ones too.

    PATTERN is a glob on names (*.ods), on whole paths when it holds a slash, or a part of a name. Without it every
    name is looked at. By content every version counts that a file ever had: FROM and UNTIL are then the points
    between which it had those bytes. BESIDE names what left a file beside the present history: a recovery to an
    earlier moment, mostly.

    \b
    Example:  bcsctl search 'q3*.ods' --source finance/sf-db1/files
              bcsctl search --like q3.ods --deleted
    """
    now = SYSTEM.now()
    first, last = period(from_at, to_at, now)
    if pattern is None and not any((from_at, to_at, larger, smaller, size, sha256, blake3, like, deleted)):
        raise UsageError("what is looked for?", hint="a part of a name, a glob, or options such as --larger and --like")
    least, most = (_size(text) if text else None for text in (larger, smaller))
    if like is not None:
        least = most = like.stat().st_size
    elif size is not None:
        least = most = _size(size)
    opened = journal(settings(home))
    from engine.query.alike import search_alike
    from engine.query.search import Wanted, search
    from engine.query.session import Session
    from engine.query.streams import find

    wanted = Wanted(pattern or "*", least, most, first, last, deleted)
    judge = _judge(opened, sha256, blake3, like)
    with damage_is_a_difference(), Session(opened) as session:
        stream = find(opened, address).id if address else None
        if judge is None:
            found = search(session, wanted, stream, limit)
        else:
            found = search_alike(session, wanted, judge, stream, limit)
    if as_json:
        print_json({"pattern": pattern, "entries": [hit_json(one) for one in found]})
    else:
        render(found, limit)


def _size(text: str) -> int:
    """A size as policies have it, or a number of bytes."""
    return int(text) if text.isdecimal() else parse_size(text)


def _judge(opened: Journal, sha256: str | None, blake3: str | None, like: Path | None) -> Judge | None:
    """What tells files by their content; None when that is not asked for. UsageError for several ways at once."""
    given = [name for name, value in (("--sha256", sha256), ("--blake3", blake3), ("--like", like)) if value]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} say the content twice", hint="leave one of them out")
    if not given:
        return None
    from engine.journal.data import DataReader
    from engine.query.whole_files import Hasher, has_bytes, hash_of

    reader = DataReader(opened)
    if like is not None:
        fd = os.open(like, os.O_RDONLY | os.O_CLOEXEC)  # until the command ends

        def same_bytes(stream: Any, pieces: Any, size: int) -> bool:
            return has_bytes(fd, size, pieces, reader, stream.id, opened.keyring.group_key(stream.group))

        return same_bytes
    wanted = (sha256 or blake3 or "").lower()
    if not _HEX.fullmatch(wanted):
        raise UsageError(f"'{wanted[:80]}' is no {given[0][2:]} of a file", hint="64 hexadecimal digits")
    algorithm: Callable[[], Hasher]
    if sha256:
        from hashlib import sha256 as algorithm
    else:
        from blake3 import blake3 as algorithm

    def same_hash(stream: Any, pieces: Any, size: int) -> bool:
        return hash_of(reader, stream.id, pieces, size, algorithm) == wanted

    return same_hash


def _sha256(path: Path) -> str:
    from hashlib import file_digest

    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def hit_json(hit: Hit) -> dict[str, Any]:
    """One file at one path: the first and the last point that have it there, and how it was at the last."""
    return {
        "address": str(hit.address),
        **path_json(hit.path),
        "type": hit.type,
        "size": hit.size,
        "mtime_ns": hit.mtime_ns,
        "mode": hit.mode,
        "first": {"point": str(hit.first), "at": format_time(hit.at_first)},
        "last": {"point": str(hit.last), "at": format_time(hit.at_last)},
        "gone": hit.gone,
        **beside_json(hit.beside),
    }


def render(found: Sequence[Hit], limit: int) -> None:
    """A table by source and path; what is there no more in red, with the last point that has it."""
    aside = any(hit.beside for hit in found)
    rows = [
        [
            (f"{hit.address}:{os.fsdecode(hit.path)}", BAD if hit.gone else None),
            format_size(hit.size) if hit.type == "f" else "-",
            local_time(hit.at_first),
            ("there now", None)
            if not (hit.gone or hit.beside)
            else (local_time(hit.at_last), BAD if hit.gone else None),
            f"point:{hit.last}",
            *([hit.beside.cause if hit.beside else ""] if aside else []),
        ]
        for hit in found
    ]
    if rows:
        table(["PATH", "SIZE", "FROM", "UNTIL", "LAST POINT", *(["BESIDE"] if aside else [])], rows, right=("SIZE",))
    kinds = (("f", "file", ""), ("d", "directory", "directories"))
    counts = [(sum(hit.type == kind for hit in found), noun, several) for kind, noun, several in kinds]
    of = ", ".join(counted(count, noun, several) for count, noun, several in counts if count)
    more = f": there may be more, --limit {limit * 10} shows them" if len(found) == limit else ""
    say(f"{counted(len(found), 'name')}{f' ({of})' if of else ''}{more}", DIM)
    if aside:
        say("BESIDE the present history: what is named there has left it", DIM)
    if aside or any(hit.gone for hit in found):
        say("bring one back: bcsctl restore ADDRESS:PATH --at LAST-POINT --to DIR", DIM)
