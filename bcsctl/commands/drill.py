"""bcsctl drill: restore a group to scratch, look at what came back, record the evidence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from bcsctl.completing import GROUPS
from bcsctl.drill_view import render, told_of
from bcsctl.opening import journal, master_key
from bcsctl.options import exits, of_group
from bcsctl.output import BAD, BUSY, json_option, print_json, progress, say
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.model.errors import UsageError
from engine.model.policy.drills import CANCEL, FILL, VERIFY

if TYPE_CHECKING:
    from engine.recovery.drill.run import Made


@click.command("drill", cls=SiteCommand, epilog=exits(4, 5, 6))
@click.argument("group", shell_complete=GROUPS)
@click.option("--at", metavar="MOMENT", help="As of when, instead of what the policy says; random is any that is kept.")
@click.option(
    "--check",
    "checks",
    multiple=True,
    type=click.Choice(["checksums", "application", "commands"]),
    help="What to look at, instead of what the policy says; may be repeated. commands: those of the policy.",
)
@click.option("--on-demand", is_flag=True, help="Use the trees while they are cold: RTO is the first check's end.")
@click.option(
    "--then",
    "afterwards",
    type=click.Choice([CANCEL, FILL, VERIFY]),
    help="With --on-demand: cancel (the default), fill the trees, or verify: fill them, and read all of it back.",
)
@click.option("--host", metavar="NAME", default="", help="On this host of the site, by its agent; restored there.")
@site_option
@home_option
@json_option
def command(
    group: str,
    at: str | None,
    checks: tuple[str, ...],
    on_demand: bool,
    afterwards: str | None,
    host: str,
    home: str | None,
    as_json: bool,
) -> int:
    """Restore a group to scratch, run its checks, record the evidence; everything restored is removed again.

    Without options it makes the drills of the group's policy. Each source is restored to a directory of its
    own on the node, every byte and attribute is read back, and commands run on it without a network. RTO is the
    time from the beginning until all sources were back, RPO what of the time before the moment would have
    been lost; both are held against the objectives.

    With --on-demand nothing is waited for: the policy's commands run over trees of which no byte is there yet. RTO is
    then the time to the first that passes, or, without commands, to the first reads.

    With --host, or `host` in the policy, the agent of that host restores it there and runs the checks there, without a
    network, as root. It runs the commands of the applied policy and no other. With --on-demand the host fills the
    trees from the node.

    \b
    Example:  bcsctl drill finance
              bcsctl drill finance --at -1d --check checksums
              bcsctl drill finance --on-demand --then verify
              bcsctl drill finance --host sf-spare1 --on-demand
    """
    if afterwards and not on_demand:
        raise UsageError("--then says nothing without --on-demand", hint="say --on-demand with it, or leave it out")
    trees = (afterwards or CANCEL) if on_demand else ""
    made = carried_out(settings(home), of_group(group), at, checks, trees, host, as_json)
    told = told_of([one.as_json() for one in made])
    if as_json:
        print_json(told)
    else:
        render(told)
    for one in made:
        if not one.recorded:
            say(f"the drill {one.evidence.id} could not be recorded: it counts for nobody but you", BAD)
        if one.refused is not None:
            say(one.refused.hint, BUSY)
    if any(one.evidence.differs for one in made):
        return 6
    if any(one.refused is not None for one in made):
        return 4
    return 0 if told["passed"] else 1


def carried_out(
    where: Settings, group: str, at: str | None, checks: tuple[str, ...], on_demand: str, host: str, as_json: bool
) -> list[Made]:
    """Make the drills that are asked for, with a progress bar."""
    opened = journal(where)
    from engine.recovery.acts import who_acts
    from engine.recovery.drill.cold import Filling
    from engine.recovery.drill.rehearsal import Hands
    from engine.recovery.drill.run import Scene, asked_of, group_of, make
    from engine.recovery.restore import Helping

    asked = asked_of(group_of(opened, group), at, checks, on_demand, host)
    with progress(as_json) as drawn:
        task = drawn.add_task("drill", total=None)

        def told(what: str, done: int, total: int) -> None:
            changes: dict[str, Any] = {"completed": done, "total": total or None}
            drawn.update(task, description=what, **changes)

        def waiting(other: str) -> None:
            say(f"a drill of {other} runs: this one begins once it has ended", BUSY)

        helping = Helping(where.journal, master_key(where), os.cpu_count() or 1)
        hands = Hands(helping, Filling(where.journal, where.master_key, who_acts()))
        return make(Scene(where.home, opened, who_acts(), hands, told=told, waiting=waiting), asked)
