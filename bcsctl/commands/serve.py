"""bcsctl serve: run a node in the foreground. `bcsctl apply` and the services start it."""

from __future__ import annotations

import importlib.metadata
import os
import sys

import click

from bcsctl.options import exits
from bcsctl.settings import home_option, settings


@click.command("serve", epilog=exits(4))
@click.option("--role", type=click.Choice(["node"]), default="node", show_default=True, help="What to run.")
@home_option
def command(role: str, home: str | None) -> None:
    """Run a node in the foreground, until SIGTERM or SIGINT.

    \b
    Example:  bcsctl serve --role node
    """
    from engine.node.serve import serve

    version = os.environ.get("BCS_NODE_VERSION") or importlib.metadata.version("bcsctl")
    # Users' commands run in processes of their own, by the very code that runs on their workstations.
    command = (sys.executable, "-m", "bcsctl.on_node")
    code = serve(settings(home).home, version=version, command=command)
    # All is committed and closed. What the interpreter would still take down, DuckDB's library complains of in lines
    # that alarm whoever reads the journal of the machine.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
