"""bcsctl apply: make it so."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bcsctl.apply_progress import applying
from bcsctl.commands import plan as plan_command
from bcsctl.commands import status as status_command
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, GOOD, json_option, print_json, say, tell
from bcsctl.settings import Settings, home_option, settings
from engine.model.errors import BcsError, Refused, UsageError
from engine.model.policy.site import EMBEDDED_SITE
from engine.model.times import SECOND, parse_duration

if TYPE_CHECKING:
    from engine.plan.reconcile import Plan
    from engine.reconcile.apply import ApplyResult
    from engine.reconcile.provenance import Provenance


@click.command("apply", epilog=exits(3, 4))
@click.argument("paths", nargs=-1)
@click.option("--plan", "plan_file", metavar="FILE", help="Apply a plan that `bcsctl plan --out FILE` saved.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask first.")
@click.option("--wait", is_flag=True, help="Return once every source is protected.")
@click.option("--wait-seconds", type=click.FloatRange(min=0), metavar="N", help="Give up waiting after so long.")
@click.option("--confirm", type=click.IntRange(min=0), metavar="N", help="Allow it to stop or shorten N sources.")
@click.option("--prune", is_flag=True, help="With PATHS: remove what they don't hold.")
@click.option("--readmit", multiple=True, metavar="HOST", help="Let a host in again whose certificate was revoked.")
@click.option("--allow-empty", is_flag=True, help="Allow an empty set of policies, which stops everything.")
@click.option("--watch", metavar="DURATION", help="Pull and apply again and again: the GitOps loop (with --yes).")
@click.option("--verify-signatures", is_flag=True, help="With --watch: apply only commits that git finds well signed.")
@home_option
@json_option
def command(
    paths: tuple[str, ...],
    plan_file: str | None,
    yes: bool,
    wait: bool,
    wait_seconds: float | None,
    confirm: int | None,
    prune: bool,
    readmit: tuple[str, ...],
    allow_empty: bool,
    watch: str | None,
    verify_signatures: bool,
    home: str | None,
    as_json: bool,
) -> int:
    """Make it so: record the policies, run the node, deploy the agents.

    Asks first unless --yes. Without PATHS the whole repository counts, and what it no longer
    holds stops being protected; its history stays. With PATHS nothing is removed unless --prune.

    \b
    Example:  bcsctl apply policies/ --yes --wait
    """
    if plan_file and paths:
        raise UsageError("PATHS and --plan exclude each other", hint="a saved plan knows its policies")
    at = settings(home, paths)
    from bcsctl.restoring.recover_here import revived

    revived(at)  # before anything else: after a reboot their readers wait

    def once() -> int:
        plan, origin = planned(at, plan_file, partial=bool(paths), prune=prune, readmit=readmit)
        given = Given(yes, wait or wait_seconds is not None, wait_seconds, confirm, allow_empty, as_json)
        # A saved plan is applied as it was looked at, or not at all.
        again = None if plan_file else lambda: planned(at, None, partial=bool(paths), prune=prune, readmit=readmit)[0]
        return run(at, plan, origin, given, again)

    if not watch:
        if verify_signatures:
            raise UsageError("--verify-signatures goes with --watch", hint="git verify-commit HEAD looks at one")
        return once()
    if readmit:
        raise UsageError("--readmit is for once, not for --watch", hint="apply by hand, then start the loop again")
    if not yes or as_json:
        raise UsageError("--watch needs --yes and no --json", hint="it goes on by itself, until it is stopped")
    from bcsctl import watching

    sites: dict[str, int] = {}

    def one_round() -> watching.Applied:
        plan, origin = planned(at, None, partial=bool(paths), prune=prune)
        sites.update(plan.bases)
        nothing = plan.noop and not plan.refused
        return watching.Applied(len(plan.actions), 0 if nothing else carry_out(at, plan, origin, confirm, allow_empty))

    seconds = max(parse_duration(watch) / SECOND, 1.0)
    watching.watch(at.policies, seconds, one_round, watching.reporter(at, sites), signed=verify_signatures)
    return 0


def carry_out(at: Settings, plan: Plan, origin: Provenance, confirm: int | None, allow_empty: bool) -> int:
    """Apply without asking, as the GitOps loop does; how many hosts and sources failed."""
    from engine.plan.reconcile import check_guards
    from engine.reconcile.apply import apply

    plan_command.render(plan)
    check_guards(plan, confirm=confirm, allow_empty=allow_empty)
    with applying(False) as listen:
        done = apply(at.home, plan, origin, on_progress=listen)
    render_faults(done)
    return sum(not result.ok for result in done.results)


def planned(
    at: Settings, plan_file: str | None, partial: bool, prune: bool, readmit: Collection[str] = ()
) -> tuple[Plan, Provenance]:
    """The plan and where it comes from, from policies or from a file."""
    if plan_file:
        from engine.reconcile.saved_plan import read_plan

        return read_plan(Path(plan_file), at.home, readmit)
    from engine.reconcile.planning import make_plan
    from engine.reconcile.provenance import provenance

    site = os.environ.get("BCS_SITE", "")
    plan = make_plan(at.home, at.policies, partial=partial, prune=prune, site=site, readmit=readmit)
    return plan, provenance(at.policies)


@dataclass(frozen=True, slots=True)
class Given:
    """The flags of an apply."""

    yes: bool = False
    wait: bool = False
    wait_seconds: float | None = None
    confirm: int | None = None
    allow_empty: bool = False
    as_json: bool = False


def run(at: Settings, plan: Plan, origin: Provenance, given: Given, again: Callable[[], Plan] | None) -> int:
    """Show, guard, ask, apply, show; and `again` once a node answers that did not when the plan was made."""
    from engine.plan.reconcile import check_guards
    from engine.reconcile.apply import apply

    changes: list[Any] = []
    results: list[Any] = []
    for last in (again is None, False, True):
        if not given.as_json:
            plan_command.render(plan)
        check_guards(plan, confirm=given.confirm, allow_empty=given.allow_empty)
        if not plan.noop and not given.yes:
            ask(given.as_json)
        with applying(given.as_json) as listen:
            done = apply(at.home, plan, origin, wait=given.wait, wait_seconds=given.wait_seconds, on_progress=listen)
        changes += plan.as_json()["changes"]
        results += done.as_json()["results"]
        if last or again is None or not done.again:
            break
        if not given.as_json:
            say("the node answers now: looking at what else there is to do", BUSY)
        plan = again()
    if given.as_json:
        told = {**plan.as_json(), **done.as_json(), "changes": changes, "results": results, "noop": not changes}
        print_json({**told, "commit": origin.commit, "by": origin.by})
    else:
        render(at, plan, done)
    return 0 if all(result["ok"] for result in results) and not done.again else 1


def ask(as_json: bool) -> None:
    """A yes from the user; Refused without."""
    if as_json or not sys.stdin.isatty():
        raise UsageError("nobody is there to say yes", hint="look at `bcsctl plan`, then add --yes")
    if not click.confirm("Make it so?", err=True):
        raise Refused("not applied", hint="nothing was changed")


def render(at: Settings, plan: Plan, done: ApplyResult) -> None:
    """What came of it, then how everything is."""
    render_faults(done)
    if done.ok and not plan.noop:
        numbers = ", ".join(f"number {number} at site {site}" for site, number in done.numbers.items())
        tell(f"Applied: {numbers if len(done.numbers) > 1 else f'number {done.number}'}.", GOOD)
    for line in kept_elsewhere(plan) if done.ok else ():
        say(line, BUSY)
    if done.again:
        say("a node answers now that did not: run `bcsctl apply` again for what else there is to do", BUSY)
    if plan.desired.embedded:
        from engine.reconcile.embedded import shortcomings

        if not plan.noop:
            for text in shortcomings():
                say(text, BUSY)
        tell()
        status_command.render(status_command.site(at))
    for site in done.numbers:
        if site != EMBEDDED_SITE:
            render_site(site)


def kept_elsewhere(plan: Plan) -> list[str]:
    """What nobody can make again, of the sites whose node is new."""
    from engine.deploy.nodes import MASTER_KEY

    new = {action.site: action.name for action in plan.actions if (action.kind, action.action) == ("Node", "create")}
    keys = {
        site.name: site.encryption.master_key_file if site.encryption else MASTER_KEY
        for site in plan.desired.sites
        if site.name in new
    }
    return [
        f"keep a copy of {key} of {new[site]} elsewhere: without this key nothing of site {site} can be opened"
        for site, key in keys.items()
    ]


def render_site(site: str) -> None:
    """How everything is at a site with a node of its own; nothing where it can't be asked, which a row has said."""
    from engine.env import credentials
    from engine.env.endpoint import request_json

    try:
        credential = credentials.read(site)
        found = request_json(credential.endpoint(), "GET", "/v1/status") if credential else None
    except BcsError:
        found = None
    if found is not None:
        tell()
        status_command.render(found)


def render_faults(done: ApplyResult) -> None:
    """A line for each host and source that failed, and what to do."""
    for result in done.results:
        if not result.ok:
            tell(f"{result.kind} {result.name}: {result.state}: {result.message}", BAD)
            if result.hint:
                tell(f"  {result.hint}")
