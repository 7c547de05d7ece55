"""bcsctl restore: bring back a file, a tree, a source, a host or a group as of any moment."""

from __future__ import annotations

from typing import Any

import click

from bcsctl.commands.scratch import CHECK_HELP
from bcsctl.completing import RESTORED
from bcsctl.entries import damage_is_a_difference
from bcsctl.node_client import told_how_to_start
from bcsctl.opening import Named, path_of
from bcsctl.options import at_option, exits
from bcsctl.output import json_option
from bcsctl.restoring.fitting import (
    AFAR,
    HOST_SCRATCH,
    IN_PLACE,
    NAME,
    ON_DEMAND,
    SCRATCH,
    STREAM,
    refuse_misfits,
    way_of,
)
from bcsctl.restoring.here import Asked, here
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import site_option
from engine.model.errors import UsageError
from engine.model.times import SECOND, parse_duration
from engine.plan.scope import parse_scope

LONGEST = "1h"
"""How long a check may take, unless something else is said."""
OF_SCRATCH = ("list", "check", "promote", "discard")
"""`bcsctl restore promote ID` and so on are those of `bcsctl scratch`. A group of such a name is written `list/*`."""


class Restore(click.Command):
    """A command that also has some of another."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if not args or args[0] not in OF_SCRATCH:
            return super().make_context(info_name, args, parent, **extra)
        from bcsctl.commands.scratch import command as scratch

        other: click.Command = scratch.commands[args[0]]
        return other.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


@click.command("restore", cls=Restore, epilog=exits(4, 5, 6))
@click.argument("address", metavar="ADDRESS[:PATH]", default="", shell_complete=RESTORED)
@click.option(
    "--to",
    "target",
    metavar="[HOST:]DIR",
    help="Where to: a directory, - for a tar stream on standard output, or [HOST:]scratch: see below.",
)
@at_option
@click.option("--dry-run", is_flag=True, help="Print what would be done, with bytes and time; write nothing.")
@click.option("--verify", is_flag=True, help="Read everything back from the disk afterwards and compare.")
@click.option("--overwrite", is_flag=True, help="Into a directory that holds things: replace what is in the way.")
@click.option("--aside", is_flag=True, help="Keep what is replaced or of another type, as NAME.before-ID.")
@click.option("--into-protected", is_flag=True, help="Let it land in what is protected where it goes.")
@click.option("--owners", default="", metavar="HOW", help="Whose files are: keep, none, or map:FILE with a table.")
@click.option("--selector", default="", metavar="LABELS", help="Sources by their group's labels: key=value,...")
@click.option("--partial", is_flag=True, help="Of several sources leave out those that have nothing there then.")
@click.option("--in-place", is_flag=True, help="Write what differs where it came from, instead of --to.")
@click.option("--exact", is_flag=True, help="With --in-place: remove what did not exist then.")
@click.option("--on-demand", is_flag=True, help="The tree at once; its bytes when they are read, the rest by and by.")
@click.option("--mechanism", type=click.Choice(["pre-access", "fuse"]), help="With --on-demand: what stops readers.")
@click.option("--rate", metavar="SIZE", help="With --on-demand: fill so much a second, 100MiB say, or `unlimited`.")
@click.option("--scratch", "beside", metavar="DIR", help="With --to scratch: on the file system of this directory.")
@click.option("--check", "checks", multiple=True, metavar="COMMAND", help=CHECK_HELP)
@click.option("--check-timeout", show_default=LONGEST, metavar="DURATION", help="How long each may take.")
@click.option("--may-write", is_flag=True, help="What a check changes in the tree counts as checked.")
@site_option
@home_option
@json_option
def command(
    address: str,
    target: str | None,
    at: str,
    in_place: bool,
    exact: bool,
    on_demand: bool,
    mechanism: str | None,
    rate: str | None,
    beside: str | None,
    checks: tuple[str, ...],
    check_timeout: str | None,
    may_write: bool,
    home: str | None,
    **how: Any,
) -> int:
    """Bring back a file, a tree, a source, a host or a group as of any moment.

    What PATH names lands in DIR under its last name; PATH may hold wildcards. Without PATH the content of a source with
    one path lands in DIR itself; a source with several keeps the whole paths below DIR. GROUP/HOST, GROUP, HOST and
    --selector stand for several sources: each lands in DIR/HOST/SOURCE. Every byte's hash is checked before it is
    written. Broken off, the same command goes on, and does not write again what is whole. With HOST: before DIR the
    node sends it to that host, whose agent writes it; Ctrl-C cancels, and what was written stays. As HOST * stands for
    each source's own.

    --in-place writes what differs between now and then where it came from, of several sources each where it stands; a
    mark is set before it, to which the same command leads back.

    --to scratch restores to a place of its own (or, with --scratch DIR, to one on that file system), reads all of it
    back, and runs each --check in it; what they came to is recorded. `bcsctl restore promote ID` then puts those very
    bytes in place. A directory of that name is ./scratch. With HOST:scratch it is on that host; no command is run there
    over the network.

    The table of --owners has lines `user OLD = NEW` and `group OLD = NEW`, by names or numbers; OLD may be *.

    \b
    Example:  bcsctl restore finance/sf-db1/files --at -10m --to /srv/back
              bcsctl restore 'finance/sf-db1/files:/srv/finance/*.ods' --to .  --dry-run
              bcsctl restore finance --at mark:before-upgrade --to /srv/back
              bcsctl restore finance/sf-db1/files --at -10m --to /srv/finance --overwrite --dry-run
              bcsctl restore finance/sf-db1/files --at -1h --to scratch --check "test -s ledger.db"
              bcsctl restore finance/sf-db1/files --at -10m --to sf-db2:/srv/back --on-demand
              bcsctl restore finance --at mark:before-upgrade --to '*:/srv/back' --on-demand
              bcsctl restore finance/sf-db1/files --at -10m --to sf-db1:/srv/finance --overwrite --aside --dry-run
              bcsctl restore finance/sf-db1/files --at -1h --to sf-db1:scratch --scratch /srv
              bcsctl restore finance/sf-db1/files --at -1h --to - | tar -tvf -
              bcsctl restore finance/sf-db1/files --at -1h --in-place --exact --dry-run
    """
    name, path = path_of(address)
    asked, where = Asked(parse_scope(name, how.pop("selector")), path, at, **how), settings(home)
    host, folder = destination(target) if target is not None else ("", "")
    way = way_of(target, in_place, on_demand, bool(host) or where.site is not None)
    told: dict[str, Any] = {
        "exact": exact,
        "on_demand": on_demand,
        "mechanism": mechanism,
        "rate": rate,
        "scratch": beside,
    }
    told |= {"check": checks, "check_timeout": check_timeout, "may_write": may_write, **how}
    given = [f"--{option.replace('_', '-')}" for option, value in told.items() if value]
    refuse_misfits(way, given, one=asked.scope.one)
    if way == IN_PLACE:
        return back(where, asked, exact)
    if way == SCRATCH:
        from bcsctl.restoring.scratch import to_scratch

        return to_scratch(where, asked, beside, checks, parse_duration(check_timeout or LONGEST) / SECOND, may_write)
    if way == STREAM:
        from bcsctl.restoring.stream import as_stream

        return as_stream(where, asked)
    if way == ON_DEMAND:
        return at_once(where, asked, host, folder, mechanism, rate)
    if way in (AFAR, HOST_SCRATCH):
        from bcsctl.restoring.afar import from_afar, to_host_scratch

        with damage_is_a_difference(), told_how_to_start(where):
            return from_afar(where, asked, host, folder) if way == AFAR else to_host_scratch(where, asked, host, beside)
    return here(where, asked, folder)


def at_once(where: Settings, asked: Asked, host: str, folder: str, mechanism: str | None, rate: str | None) -> int:
    """On demand."""
    from bcsctl.restoring.on_demand import on_demand

    wanted = Named(str(asked.scope), asked.path)
    how: dict[str, Any] = {"mechanism": mechanism, "rate": rate, "dry_run": asked.dry_run, "as_json": asked.as_json}
    if host:
        from bcsctl.restoring.on_demand_afar import on_demand_afar

        if asked.into_protected:
            raise UsageError(
                "on demand to a host is for what is not protected there", hint="leave out --into-protected"
            )
        if not asked.scope.one:
            from bcsctl.restoring.on_demand_afar_several import several_afar

            return several_afar(where, asked, host, folder, mechanism, rate)
        return on_demand_afar(where, wanted, asked.at, host, folder, **how)
    if not asked.scope.one:
        from bcsctl.restoring.on_demand_several import several

        return several(where, asked, folder, mechanism, rate)
    return on_demand(where, wanted, asked.at, folder, into_protected=asked.into_protected, **how)


def back(where: Settings, asked: Asked, exact: bool) -> int:
    """In place."""
    if not asked.scope.one:
        from bcsctl.restoring.in_place_several import several_in_place

        return several_in_place(where, asked, exact)
    from bcsctl.restoring.in_place import in_place

    wanted = Named(str(asked.scope), asked.path)
    return in_place(
        where, wanted, asked.at, exact=exact, dry_run=asked.dry_run, verify=asked.verify, as_json=asked.as_json
    )


def destination(target: str) -> tuple[str, str]:
    """(host, directory) that `--to` names; an empty host is this machine."""
    host, colon, path = target.partition(":")
    if not colon or "/" in host:
        host, path = "", target
    if not path:
        raise UsageError("--to names no directory", hint="write --to DIR, or --to HOST:DIR")
    if host == "localhost":
        host = ""
    if host and not path.startswith("/") and path != NAME:
        raise UsageError(f"'{path}' on {host} is not an absolute path", hint=f"write --to {host}:/the/whole/path")
    return host, path
