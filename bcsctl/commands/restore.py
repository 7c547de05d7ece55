"""bcsctl restore: bring back a file, a tree or a source as of any moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.entries import damage_is_a_difference
from bcsctl.node_client import told_how_to_start
from bcsctl.opening import Named, master_key, named, scene
from bcsctl.options import at_option, exits
from bcsctl.output import json_option, print_json, progress
from bcsctl.restore_acts import BEGUN, ENDED, record
from bcsctl.restore_view import render, render_plan
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import site_option
from engine.model.errors import UsageError

if TYPE_CHECKING:
    pass

STREAM = "-"
"""What --to calls standard output."""


@click.command("restore", epilog=exits(4, 5, 6))
@click.argument("address", metavar="ADDRESS[:PATH]")
@click.option(
    "--to",
    "target",
    metavar="[HOST:]DIR",
    help="Where to: a directory that is empty or not there, or - for a tar stream on standard output.",
)
@at_option
@click.option("--dry-run", is_flag=True, help="Print what would be done, with bytes and time; write nothing.")
@click.option("--verify", is_flag=True, help="Read everything back from the disk afterwards and compare.")
@click.option("--in-place", is_flag=True, help="Write what differs where it came from, instead of --to.")
@click.option("--exact", is_flag=True, help="With --in-place: remove what did not exist then.")
@click.option("--on-demand", is_flag=True, hidden=True)
@click.option("--overwrite", is_flag=True, hidden=True)
@site_option
@home_option
@json_option
def command(
    address: str,
    target: str | None,
    at: str,
    dry_run: bool,
    verify: bool,
    in_place: bool,
    exact: bool,
    on_demand: bool,
    overwrite: bool,
    home: str | None,
    as_json: bool,
) -> int:
    """Bring back a file, a tree or a source as of any moment.

    What PATH names lands in DIR under its last name. Without PATH the content of a source with
    one path lands in DIR itself; a source with several keeps the whole paths below DIR. Every
    byte's hash is checked before it is written. DIR must be empty. With HOST the node sends it
    to that host, whose agent writes it; Ctrl-C cancels, and what was written stays.

    --in-place writes what differs between now and then where it came from, on this machine; a mark
    is set before it, to which the same command leads back.

    \b
    Example:  bcsctl restore finance/sf-db1/files --at -10m --to /srv/back
              bcsctl restore finance/sf-db1/files:/srv/finance/q3.ods --to .  --dry-run
              bcsctl restore finance/sf-db1/files --at -10m --to sf-db2:/srv/back
              bcsctl restore finance/sf-db1/files --at -1h --to - | tar -tvf -
              bcsctl restore finance/sf-db1/files --at -1h --in-place --exact --dry-run
    """
    for asked, name in ((on_demand, "--on-demand"), (overwrite, "--overwrite")):
        if asked:
            raise UsageError(f"{name} is not there yet", hint="restore to an empty directory, then move what you need")
    if in_place == (target is not None) or (exact and not in_place):
        raise UsageError("a restore goes --to one place, or comes back --in-place", hint="--exact is for --in-place")
    wanted, where = named(address), settings(home)
    if target is None:
        from bcsctl.restore_in_place import in_place as bring_back

        return bring_back(where, wanted, at, exact=exact, dry_run=dry_run, verify=verify, as_json=as_json)
    host, folder = destination(target)
    if target == STREAM:
        from bcsctl.restore_stream import as_stream

        return as_stream(where, wanted, at, dry_run=dry_run, as_json=as_json)
    if host or where.site is not None:
        with damage_is_a_difference(), told_how_to_start(where):
            return from_afar(where, wanted, at, host, folder, verify=verify, dry_run=dry_run, as_json=as_json)
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        from engine.recovery.restore import Helping
        from engine.recovery.restoring import carry_out, prepare
        from engine.recovery.told import outcome_json, plan_json, point_json

        point = there.point(at)
        prepared = prepare(there.journal, there.session, there.stream, point, wanted.path, Path(folder).expanduser())
        plan = plan_json(prepared, prepared.plan.target)
        answer: dict[str, Any] = {"address": wanted.address, **point_json(point), "plan": plan}
        if dry_run:
            if as_json:
                print_json({**answer, "dry_run": True})
            else:
                render_plan(answer, wanted.address, plan["target"])
            return 0
        begun = record(where, there, prepared, BEGUN, {"plan": {name: plan[name] for name in ("files", "bytes")}})
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
        told = outcome_json(outcome)
        recorded = record(where, there, prepared, ENDED, act_of(told)) and begun
    answer |= {**told, "recorded": recorded}
    if as_json:
        print_json(answer)
    else:
        render(answer)
    return 0 if outcome.verified else 6 if outcome.damaged else 1


def from_afar(
    where: Settings, wanted: Named, at: str, host: str, folder: str, *, verify: bool, dry_run: bool, as_json: bool
) -> int:
    """Have the node send it: to a host, whose agent receives it, or to this machine, where we do."""
    from bcsctl import restore_remote
    from engine.recovery.acts import who_acts

    place = os.fsencode(folder) if host else restore_remote.local_folder(folder)
    asked = restore_remote.Asked(wanted.address, wanted.path, at, host, place, verify, who_acts())
    endpoint = where.endpoint
    if dry_run:
        told = {"address": asked.address, **restore_remote.planned(endpoint, asked)}
        if as_json:
            print_json(told)
        else:
            render_plan(told, asked.address, asked.place)
        return 0
    told = restore_remote.carried_out(endpoint, asked, as_json)
    damaged = told.pop("damaged")
    if as_json:
        print_json(told)
    else:
        render(told, f" to {asked.place}" if asked.host else "")
    return 0 if told["verified"] else 6 if damaged else 1


def destination(target: str) -> tuple[str, str]:
    """(host, directory) that `--to` names; an empty host is this machine."""
    host, colon, path = target.partition(":")
    if not colon or "/" in host:
        host, path = "", target
    if not path:
        raise UsageError("--to names no directory", hint="write --to DIR, or --to HOST:DIR")
    if host == "localhost":
        host = ""
    if host and not path.startswith("/"):
        raise UsageError(f"'{path}' on {host} is not an absolute path", hint=f"write --to {host}:/the/whole/path")
    return host, path


def act_of(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the audit keeps of an outcome."""
    from engine.recovery.told import act_json

    return act_json(told)
