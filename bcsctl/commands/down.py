"""bcsctl down: stop what runs here; keep what was kept."""

from __future__ import annotations

import click

from bcsctl.options import exits
from bcsctl.output import json_option, print_json, tell
from bcsctl.settings import home_option, settings


@click.command("down", epilog=exits(4))
@home_option
@json_option
def command(home: str | None, as_json: bool) -> None:
    """Stop the embedded node and agent; keep the history.

    The next `bcsctl apply` goes on from there, and captures what changed meanwhile. Refused while a tree is filled on
    demand: without its filler nobody could read it.

    \b
    Example:  bcsctl down
    """
    from engine.fill.life.recoveries import refuse_while_filling
    from engine.reconcile.embedded import down

    where = settings(home)
    refuse_while_filling(where.home)
    stopped = down(where.home)
    if as_json:
        print_json({"stopped": [{"role": one.role, "pid": one.pid} for one in stopped]})
        return
    for one in stopped:
        tell(f"stopped {one.role} (pid {one.pid})")
    if not stopped:
        tell("nothing was running")
