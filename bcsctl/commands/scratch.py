"""bcsctl scratch: restores to scratch, checked, promoted, discarded. `bcsctl restore promote` and so on are these."""

from __future__ import annotations

import click

from bcsctl.completing import SCRATCHES
from bcsctl.options import exits
from bcsctl.output import json_option
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.model.times import SECOND, parse_duration

CHECK_HELP = (
    "A command that runs in the restored tree; several are run one after the other. Exit 0 says that it is good."
)


@click.group("scratch", epilog=exits(4, 5, 6))
def command() -> None:
    """See, check, promote and discard what `bcsctl restore --to scratch` has made, here or on hosts of a site.

    \b
    Example:  bcsctl restore finance/sf-db1/files --at -1h --to scratch --check "test -s ledger.db"
              bcsctl scratch promote 3f2a9c01 --aside
    """


@command.command("list", epilog=exits())
@site_option
@home_option
@json_option
def list_command(home: str | None, as_json: bool) -> int:
    """List scratch restores, and restores that were broken off.

    \b
    Example:  bcsctl restore list
    """
    from bcsctl.restoring.scratch import listed

    return listed(settings(home), as_json)


@command.command("check", epilog=exits(4, 5, 6))
@click.argument("id", shell_complete=SCRATCHES)
@click.option("--check", "commands", multiple=True, metavar="COMMAND", help=CHECK_HELP)
@click.option("--check-timeout", default="1h", show_default=True, metavar="DURATION", help="How long each may take.")
@click.option("--may-write", is_flag=True, help="What a check changes in the tree counts as checked.")
@site_option
@home_option
@json_option
def check_command(
    id: str, commands: tuple[str, ...], check_timeout: str, may_write: bool, home: str | None, as_json: bool
) -> int:
    """Run checks on a scratch restore. They count in place of earlier ones.

    COMMAND runs with sh(1) in the tree; BCS_SCRATCH names the tree, BCS_ADDRESS and BCS_AT what it is. Without one all
    of the tree is read and compared with what was kept, bytes and attributes; so it is on hosts, always.

    \b
    Example:  bcsctl restore check 3f2a9c01 --check "sqlite3 ledger.db 'PRAGMA integrity_check' | grep -qx ok"
    """
    from bcsctl.restoring.scratch import check

    return check(settings(home), id, commands, parse_duration(check_timeout) / SECOND, may_write, as_json)


@command.command("promote", epilog=exits(4, 5, 6))
@click.argument("id", shell_complete=SCRATCHES)
@click.option("--to", metavar="DIR", help="What it is to become; by default it goes where it came from.")
@click.option("--aside", is_flag=True, help="Keep what stands there, as NAME.before-ID.")
@click.option("--changed", is_flag=True, help="Take it though it is not as it was checked, or a check failed.")
@click.option("--into-protected", is_flag=True, help="Let it land in what is protected there.")
@site_option
@home_option
@json_option
def promote_command(
    id: str, to: str | None, aside: bool, changed: bool, into_protected: bool, home: str | None, as_json: bool
) -> int:
    """Put the very bytes that were checked in their place.

    All of it is read and compared with what was checked, then renamed into place, in one step where something stands
    there; on another file system it is copied beside the place first, and compared again. Broken off, the same command
    goes on.

    \b
    Example:  bcsctl restore promote 3f2a9c01 --to /srv/finance --aside
    """
    from bcsctl.restoring.scratch import promote

    how = {"aside": aside, "changed": changed, "into_protected": into_protected}
    return promote(settings(home), id, to, **how, as_json=as_json)


@command.command("discard", epilog=exits(4, 5))
@click.argument("id", shell_complete=SCRATCHES)
@site_option
@home_option
@json_option
def discard_command(id: str, home: str | None, as_json: bool) -> int:
    """Remove a scratch restore; or forget a restore that was broken off, whose files stay.

    \b
    Example:  bcsctl restore discard 3f2a9c01
    """
    from bcsctl.restoring.scratch import discard

    return discard(settings(home), id, as_json)
