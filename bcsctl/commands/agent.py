"""bcsctl agent: how the agent on this machine is, asked of itself."""

from __future__ import annotations

import sys

import click

from bcsctl.options import exits
from bcsctl.output import json_option, painted, print_json, tell
from bcsctl.settings import home_option, settings


@click.group("agent", epilog=exits())
def command() -> None:
    """Ask the agent on this machine. No node is needed.

    On a site's host, where there is no bcsctl, `sudo bcs-agent status` does the same.

    \b
    Example:  bcsctl agent status
    """


@command.command("status", epilog=exits())
@home_option
@json_option
def status(home: str | None, as_json: bool) -> None:
    """Show how the agent is: its sources, what waits, what it uses, what needs attention.

    Exits with 1 when something needs attention, and when no agent answers.

    \b
    Example:  bcsctl agent status --json
    """
    from engine.agent.status.asking import state_of
    from engine.agent.status.document import document
    from engine.agent.status.lines import lines

    state = state_of(settings(home).home)
    if as_json:
        print_json(document(state))
    else:
        tell("\n".join(lines(state, painted)))
    if state["attention"]:
        sys.exit(1)
