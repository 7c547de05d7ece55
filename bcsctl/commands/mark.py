"""bcsctl mark: a named point over every source of a group."""

from __future__ import annotations

import click

from bcsctl.node_client import START_HINT
from bcsctl.options import exits
from bcsctl.output import BAD, GOOD, json_option, print_json, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.env.clock import SYSTEM
from engine.model.errors import Unreachable, UsageError


@click.command("mark", epilog=exits(4, 5))
@click.argument("group")
@click.option("--label", required=True, help="The mark's name; `--at mark:LABEL` finds it again.")
@click.option("--wait", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to wait for it.")
@site_option
@home_option
@json_option
def command(group: str, label: str, wait: float, home: str | None, as_json: bool) -> int:
    """Set a named point over every source of a group.

    \b
    Example:  bcsctl mark finance --label before-upgrade
    """
    from engine.reconcile.marking import mark

    if not label.strip() or not label.isprintable():
        raise UsageError(f"'{label}' can't be a label", hint="write letters, digits and dashes: before-upgrade")
    at = settings(home)
    try:
        marks = mark(at.endpoint, group, label, SYSTEM, wait, lambda done, count: None)
    except Unreachable as error:
        if at.site is not None:
            raise
        raise Unreachable(error.message, hint=START_HINT) from None
    if as_json:
        print_json({"marks": marks})
    else:
        for one in marks:
            done = "marked" if one["done"] else f"not marked within {wait:g} s: the agent does not answer"
            tell(f"{one['address']}: {done}", GOOD if one["done"] else BAD)
    return 0 if all(one["done"] for one in marks) else 1
