"""bcsctl check: the journal's integrity, from its structure to every byte."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import BAD, DIM, GOOD, json_option, local_time, print_json, printable, progress, say, tell
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.counts import counted
from engine.model.errors import BcsError, UsageError
from engine.model.times import format_size, format_time

if TYPE_CHECKING:
    from engine.journal.findings import Affected, CheckError, Report

LISTED = 20


@click.command("check", cls=SiteCommand, epilog=exits(4, 6))
@click.option("--read-data", is_flag=True, help="Open every frame and compare every hash.")
@click.option("--sample", metavar="SHARE", help="Read this share of the data only, as 1%.")
@site_option
@home_option
@json_option
def command(read_data: bool, sample: str | None, home: str | None, as_json: bool) -> int:
    """Verify the journal: structure, or every byte.

    Names each object that is missing, cut short, changed or swapped, with the paths and times
    it affects. Changes nothing but the audit's records, and may run beside a node.

    \b
    Example:  bcsctl check --read-data --sample 5%
    """
    share = parse_share(sample) if sample else None
    where = settings(home)
    opened = journal(where)
    from engine.journal.check import check

    with progress(as_json) as drawn:
        task = drawn.add_task("checking", total=None)
        found = check(
            opened,
            read_data or share is not None,
            share,
            lambda done, total: drawn.update(task, completed=done, total=total),
        )
    recorded = record(where, found, read_data or share is not None, share)
    if as_json:
        print_json({**report_json(found, read_data or share is not None), "recorded": recorded})
    else:
        render(found, read_data or share is not None)
    return 6 if found.errors else 0


def record(where: Settings, found: Report, read_data: bool, share: float | None) -> bool:
    """Have the check recorded, for the recovery audit. What it found stands, recorded or not: then it is said."""
    from engine.recovery.acts import record_act, who_acts

    details = {
        "objects": found.objects,
        "bytes": found.bytes,
        "errors": len(found.errors),
        "read_data": read_data,
        "sample": share,
    }
    try:
        record_act(where.home, "check", who_acts(), details)
    except (OSError, BcsError) as error:
        say(f"the check could not be recorded: {error}", BAD)
        return False
    return True


def parse_share(text: str) -> float:
    """`5%` or `0.05` as a number from 0 to 1. UsageError for another form."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%|(0?\.[0-9]{1,8}|1)", text)
    share = float(match.group(1)) / 100 if match and match.group(1) else float(match.group(2)) if match else 0.0
    if not 0 < share <= 1:
        raise UsageError(f"'{text}' is not a share", hint="write 1%, 12.5% or 100%")
    return share


def report_json(found: Report, read_data: bool) -> dict[str, Any]:
    """What a check found; `bytes` is the size of the journal."""
    return {
        "objects": found.objects,
        "bytes": found.bytes,
        "read_data": read_data,
        "errors": [error_json(error) for error in found.errors],
        "notes": [error_json(note) for note in found.notes],
    }


def error_json(error: CheckError) -> dict[str, Any]:
    """One object, what is wrong with it, and what that affects."""
    return {
        "object": error.object,
        "kind": error.kind,
        "detail": error.detail,
        "affected": [
            {
                "address": one.address,
                "path": one.path,
                "from": format_time(one.from_at),
                "to": format_time(one.to_at) if one.to_at is not None else None,
            }
            for one in error.affected
        ],
    }


def render(found: Report, read_data: bool) -> None:
    """Each fault with what it affects, then one line."""
    for error in found.errors:
        tell(printable(f"{error.kind}: {error.object}: {error.detail}"), BAD)
        for one in error.affected[:LISTED]:
            tell(f"    {affected(one)}")
        if len(error.affected) > LISTED:
            tell(f"    and {len(error.affected) - LISTED:,} more")
    if found.notes:
        say(f"{counted(len(found.notes), 'pack')} without a commit, as a crash leaves behind: no harm", DIM)
    looked = f"{counted(found.objects, 'object')}, {format_size(found.bytes)}"
    depth = "structure and data" if read_data else "structure"
    if found.errors:
        tell(f"{counted(len(found.errors), 'error')} in {looked} ({depth})", BAD)
    else:
        tell(f"no error in {looked} ({depth})", GOOD)


def affected(one: Affected) -> str:
    """`GROUP/HOST/SOURCE:/path from … to …`."""
    what = f"{one.address}:{printable(one.path)}" if one.path else f"{one.address}: all changes"
    until = local_time(one.to_at, 6) if one.to_at is not None else "now"
    return f"{what} from {local_time(one.from_at, 6)} to {until}"
