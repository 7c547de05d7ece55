"""bcsctl mark: a named point over every source of a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bcsctl.completing import GROUPS
from bcsctl.node_client import START_HINT
from bcsctl.options import exits, of_group
from bcsctl.output import BAD, GOOD, json_option, print_json, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.env.clock import SYSTEM
from engine.model.errors import Unreachable
from engine.model.points import CRASH, check_label


@click.command("mark", epilog=exits(4, 5))
@click.argument("group", shell_complete=GROUPS)
@click.option("--label", required=True, help="The mark's name; `--at mark:LABEL` finds it again.")
@click.option(
    "--class",
    "point_class",
    type=click.Choice([CRASH]),
    help="The class of point it must be on: else nothing is marked. By default the best there is.",
)
@click.option("--again", is_flag=True, help="Though there is a mark of this label: mark:LABEL then means the new one.")
@click.option("--why", is_flag=True, help="Say of each point that is no crash point why it is none.")
@click.option("--wait", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Seconds to wait for it.")
@site_option
@home_option
@json_option
def command(
    group: str,
    label: str,
    point_class: str | None,
    again: bool,
    why: bool,
    wait: float,
    home: str | None,
    as_json: bool,
) -> int:
    """Set a named point over every source of a group.

    It is a crash point, taken under a snapshot or a short freeze, where file system and policy
    allow one (consistency: {freeze: allowed}); else quiet or fuzzy, and --why says why. Exits
    with 1 when a mark could not be set, and with 4 when the group was marked so before.

    \b
    Example:  bcsctl mark finance --label before-upgrade
    """
    from engine.reconcile.marking import mark

    group, at = of_group(group), settings(home)
    check_label(label)
    try:
        marks = mark(at.endpoint, group, label, SYSTEM, wait, lambda done, count: None, point_class or "", again=again)
    except Unreachable as error:
        if at.site is not None:
            raise
        raise Unreachable(error.message, hint=START_HINT) from None
    if as_json:
        print_json({"marks": marks})
    else:
        for one in marks:
            tell(f"{one['address']}: {_said(one, wait, why=why)}", GOOD if one["done"] else BAD)
    return 0 if all(one["done"] for one in marks) else 1


def _said(mark: Mapping[str, Any], wait_seconds: float, *, why: bool) -> str:
    if mark["done"]:
        told = f" ({mark['class']})" if mark["class"] else ""
        return f"marked{told}; no crash point: {mark['reason']}" if why and mark["reason"] else f"marked{told}"
    if mark["reason"]:
        return f"not marked: {mark['reason']}"
    return f"not marked within {wait_seconds:g} s: the agent does not answer"
