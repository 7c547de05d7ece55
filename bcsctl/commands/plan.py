"""bcsctl plan: what apply would do, with reasons."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, print_json, printable, say, tell
from bcsctl.settings import home_option, settings

if TYPE_CHECKING:
    from engine.plan.reconcile import Plan

SIGNS = {
    "create": ("+", GOOD),
    "update": ("~", BUSY),
    "remove": ("-", BAD),
    "start": ("~", BUSY),
    "upgrade": ("~", BUSY),
}
VERBS = {"create": "create", "update": "update", "remove": "remove", "start": "start", "upgrade": "upgrade"}
ALWAYS = ("create", "update", "remove")


@click.command("plan", epilog=exits(3, 4, 10))
@click.argument("paths", nargs=-1)
@click.option("--out", metavar="FILE", help="Save the plan for `bcsctl apply --plan FILE`.")
@click.option("--prune", is_flag=True, help="With PATHS: remove what they don't hold.")
@click.option("--readmit", multiple=True, metavar="HOST", help="Let a host in again whose certificate was revoked.")
@click.option("--check", is_flag=True, help="Look at the hosts too: what Ansible would change there, with differences.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 10 when there are changes.")
@home_option
@json_option
def command(
    paths: tuple[str, ...],
    out: str | None,
    prune: bool,
    readmit: tuple[str, ...],
    check: bool,
    detailed_exitcode: bool,
    home: str | None,
    as_json: bool,
) -> int:
    """Show what apply would do, as + ~ - lines with reasons.

    Without PATHS the whole repository counts; with PATHS nothing is removed unless --prune.

    \b
    Example:  bcsctl plan --detailed-exitcode
              bcsctl plan --out tonight.plan && bcsctl apply --plan tonight.plan
    """
    from engine.reconcile.planning import make_plan

    at = settings(home, paths)
    site = os.environ.get("BCS_SITE", "")
    plan = make_plan(at.home, at.policies, partial=bool(paths), prune=prune, site=site, readmit=readmit)
    if out:
        from engine.reconcile.provenance import provenance
        from engine.reconcile.saved_plan import save_plan

        save_plan(Path(out), at.home, plan, provenance(at.policies))
    if not as_json:
        render(plan)
    told, failed = plan.as_json(), False
    if check:
        checked = look(at.home, plan, as_json)
        told["hosts"] = checked
        failed = not all(row["ok"] for row in checked)
    if as_json:
        print_json(told)
    return 1 if failed else 10 if detailed_exitcode and not plan.noop else 0


def look(home: Path, plan: Plan, as_json: bool) -> list[dict[str, Any]]:
    """The hosts of the plan's sites as Ansible's check mode sees them; said line by line, unless as JSON."""
    from bcsctl.apply_progress import applying
    from engine.reconcile.checking import as_json as row_as_json
    from engine.reconcile.checking import check_hosts

    with applying(as_json) as listen:
        rows = [row_as_json(checked) for checked in check_hosts(home / "cache", plan, listen)]
    for row in () if as_json else rows:
        words = {"ok": "as it should be", "changed": "would be changed"}.get(row["state"], row["state"])
        said = f"{row['kind']} {row['name']}: {words}{': ' if row['message'] else ''}{row['message']}"
        tell(printable(said), GOOD if row["state"] == "ok" else BUSY if row["ok"] else BAD)
        for text in (row["hint"], *row["diff"]):
            for line in text.splitlines():
                tell(printable(f"    {line}"), DIM)
    return rows


def render(plan: Plan) -> None:
    """A line an action, its reason, and the fields that change; then the sum."""
    if plan.noop:
        tell(f"No changes: {plan.unchanged:,} things are as the policies say.", GOOD)
        _open(plan)
        return
    for action in plan.actions:
        sign, colour = SIGNS[action.action]
        verb = f" ({action.action})" if action.action in ("start", "upgrade") else ""
        # A source's address begins with its group, and a group is at one site.
        site = f" of site {action.site}" if len(plan.bases) > 1 and action.kind in ("Node", "Agent") else ""
        tell(printable(f"{sign} {action.kind} {action.name}{site}{verb}: {action.reason}"), colour)
        if action.action in ("update", "upgrade"):
            for name, change in action.fields.items():
                tell(printable(f"    {name}: {value(change.old)} -> {value(change.new)}"), DIM)
    tell()
    tell(summary(plan.summary))
    _open(plan)
    if plan.guard.needed:
        flags = f"{'--prune ' if plan.partial and plan.removed else ''}--confirm {plan.guard.sources}"
        say(f"this needs {flags}, since it {plan.guard.reason}", BAD)
    for address in plan.guard.shortens:
        say(f"  {address}: its retention gets shorter, {_points_removed(plan, address)} will go once expiry runs", BAD)


def _open(plan: Plan) -> None:
    """What the plan can't say, and what it does nothing about."""
    for site in plan.unknown:
        say(f"the node of site {site} does not answer: what else there is to do shows once it does", BUSY)
    for text in plan.passed_over:
        say(printable(text), BUSY)
    for text in plan.refused:
        say(printable(text), BAD)


def _points_removed(plan: Plan, address: str) -> str:
    for action in plan.actions:
        if (action.kind, action.name) == ("Source", address) and action.points_removed is not None:
            return f"{action.points_removed:,} of its points"
    return "points"


def summary(counts: Mapping[str, int]) -> str:
    """`Plan: 2 to create, 0 to update, 0 to remove, 1 to start, 3 unchanged.`"""
    parts = [f"{counts.get(key, 0)} to {VERBS[key]}" for key in VERBS if key in ALWAYS or counts.get(key)]
    return f"Plan: {', '.join(parts)}, {counts.get('unchanged', 0)} unchanged."


def value(found: Any) -> str:
    """One side of a change."""
    if found is None:
        return "-"
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
