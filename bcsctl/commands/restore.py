"""bcsctl restore: bring back a file, a tree or a source as of any moment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.entries import as_of, damage_is_a_difference, path_json, point_json
from bcsctl.opening import Scene, master_key, named, scene
from bcsctl.options import at_option, exits
from bcsctl.output import BAD, BUSY, GOOD, json_option, print_json, printable, progress, say, tell
from bcsctl.settings import Settings, home_option, settings
from engine.model.errors import BcsError, UsageError
from engine.model.times import format_about, format_size

if TYPE_CHECKING:
    from engine.recovery.restoring import Outcome, Prepared

LISTED = 20


@click.command("restore", epilog=exits(4, 5, 6))
@click.argument("address", metavar="ADDRESS[:PATH]")
@click.option("--to", "target", required=True, metavar="DIR", help="Where to: a directory that is empty or not there.")
@at_option
@click.option("--dry-run", is_flag=True, help="Print what would be done, with bytes and time; write nothing.")
@click.option("--verify", is_flag=True, help="Read everything back from the disk afterwards and compare.")
@click.option("--in-place", is_flag=True, hidden=True)
@click.option("--on-demand", is_flag=True, hidden=True)
@click.option("--overwrite", is_flag=True, hidden=True)
@home_option
@json_option
def command(
    address: str,
    target: str,
    at: str,
    dry_run: bool,
    verify: bool,
    in_place: bool,
    on_demand: bool,
    overwrite: bool,
    home: str | None,
    as_json: bool,
) -> int:
    """Bring back a file, a tree or a source as of any moment.

    What PATH names lands in DIR under its last name. Without PATH the content of a source with
    one path lands in DIR itself; a source with several keeps the whole paths below DIR. Every
    byte's hash is checked before it is written. DIR must be empty.

    \b
    Example:  bcsctl restore finance/sf-db1/files --at -10m --to /srv/back
              bcsctl restore finance/sf-db1/files:/srv/finance/q3.ods --to .  --dry-run
    """
    for asked, name in ((in_place, "--in-place"), (on_demand, "--on-demand"), (overwrite, "--overwrite")):
        if asked:
            raise UsageError(f"{name} is not there yet", hint="restore to an empty directory, then move what you need")
    wanted, into, where = named(address), folder(target), settings(home)
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        from engine.recovery.restore import Helping
        from engine.recovery.restoring import carry_out, prepare

        point = there.point(at)
        prepared = prepare(there.journal, there.session, there.stream, point, wanted.path, into)
        answer: dict[str, Any] = {"address": wanted.address, **point_json(point), "plan": plan_json(prepared)}
        if dry_run:
            if as_json:
                print_json({**answer, "dry_run": True})
            else:
                render_plan(prepared, wanted.address)
            return 0
        with progress(as_json) as drawn:
            task = drawn.add_task("restoring", total=prepared.plan.bytes or None)
            outcome = carry_out(
                there.journal,
                there.session,
                prepared,
                verify=verify,
                progress=lambda files, count: drawn.update(task, advance=count),
                helping=Helping(where.journal, master_key(where), os.cpu_count() or 1),
            )
        recorded = record(where, there, prepared, outcome)
    if as_json:
        print_json({**answer, **outcome_json(outcome), "recorded": recorded})
    else:
        render(prepared, outcome)
    return 0 if outcome.verified else 6 if outcome.damaged else 1


def folder(target: str) -> Path:
    """The directory that `--to` names. Other hosts can't be restored to yet."""
    host, colon, path = target.partition(":")
    if colon and "/" not in host:
        if host not in ("", "localhost"):
            raise UsageError(f"restoring to another host ({host}) is not there yet", hint="name a directory here")
        target = path
    if not target:
        raise UsageError("--to names no directory", hint="write --to DIR")
    return Path(target).expanduser()


def record(where: Settings, there: Scene, prepared: Prepared, outcome: Outcome) -> bool:
    """Have the restore recorded. What has been restored stays so, recorded or not: then it is said."""
    from engine.recovery.acts import record_act, who_acts

    details = {
        "address": str(there.stream.address),
        "stream": there.stream.id,
        **path_json(prepared.base),
        **point_json(prepared.point),
        **path_json(prepared.plan.target, "target"),
        **{key: value for key, value in outcome_json(outcome).items() if key not in ("failures", "shortfalls")},
        "failures": len(outcome.restored.failures) + len(outcome.differences),
    }
    try:
        record_act(where.home, "restore", who_acts(), details)
    except (OSError, BcsError) as error:
        say(f"the restore could not be recorded: {error}", BAD)
        return False
    return True


def plan_json(prepared: Prepared) -> Mapping[str, Any]:
    """What a restore is about to make."""
    plan = prepared.plan
    return {
        **path_json(prepared.base),
        **path_json(plan.target, "target"),
        "directories": len(plan.directories),
        "files": len(plan.files),
        "others": len(plan.others),
        "names": plan.names,
        "bytes": plan.bytes,
        "seconds_estimated": prepared.seconds_estimated,
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """What a restore has made."""
    done = outcome.restored
    failures = [*done.failures, *outcome.differences]
    return {
        "files": done.files,
        "names": done.names,
        "bytes": done.bytes_written,
        "seconds": round(outcome.seconds, 3),
        "verified": outcome.verified,
        "read_back": outcome.read_back,
        "failures": [{**path_json(path), "message": why} for path, why in failures],
        "shortfalls": list(done.shortfalls),
    }


def render_plan(prepared: Prepared, address: str) -> None:
    """The dry run."""
    plan = prepared.plan
    tell(f"{address}:{printable(os.fsdecode(prepared.base))} {as_of(prepared.point)}")
    tell(f"would go to  {printable(os.fsdecode(plan.target))}")
    tell(f"files        {len(plan.files):,} with {format_size(plan.bytes)}")
    tell(f"directories  {len(plan.directories):,}")
    tell(f"others       {len(plan.others):,} (links, fifos, sockets, devices)")
    tell(f"about        {format_about(round(prepared.seconds_estimated * 1e6))}")


def render(prepared: Prepared, outcome: Outcome) -> None:
    """What is not as it should be, then one clear line."""
    done = outcome.restored
    _list(named_paths(done.failures), "could not be restored", BAD)
    _list(named_paths(outcome.differences), "differ on the disk from what was kept", BAD)
    _list([printable(text) for text in done.shortfalls], "attributes that could not be set", BUSY)
    verified = "verified" if outcome.verified else "NOT VERIFIED"
    if outcome.verified and outcome.read_back:
        verified += ", read back"
    tell(
        f"Restored {done.files:,} {'file' if done.files == 1 else 'files'}, {format_size(done.bytes_written)}"
        f" in {format_about(round(outcome.seconds * 1e6))} {as_of(prepared.point)}, {verified}",
        GOOD if outcome.verified else BAD,
    )


def named_paths(found: Sequence[tuple[bytes, str]]) -> list[str]:
    return [f"{printable(os.fsdecode(path))}: {why}" for path, why in found]


def _list(lines: list[str], what: str, colour: str) -> None:
    for line in lines[:LISTED]:
        say(line, colour)
    if lines:
        more = f" (the first {LISTED} are listed)" if len(lines) > LISTED else ""
        say(f"{what}: {len(lines):,}{more}", colour)
