"""bcsctl compact: merge segments and make checkpoints now, instead of when it is due."""

from __future__ import annotations

import click

from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import json_option
from bcsctl.settings import home_option, settings


@click.command("compact", epilog=exits())
@home_option
@json_option
def command(home: str | None, as_json: bool) -> None:
    """Merge segments and make checkpoints now.

    A node does this by itself; by hand it may be done at any time, with a node running or not.
    Nothing of the history goes.

    \b
    Example:  bcsctl compact
    """

    opened = journal(settings(home))
    raise NotImplementedError
