"""bcsctl init: a policy repository that works on this machine at once."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bcsctl.options import exits
from bcsctl.output import json_option, print_json, printable, say, tell


@click.command("init", epilog=exits(4))
@click.argument("directory", default=".", metavar="[DIR]")
@click.option(
    "--protect",
    multiple=True,
    metavar="PATH",
    help="What to protect; may be repeated. Without it: DIR/data, made here.",
)
@json_option
def command(directory: str, protect: tuple[str, ...], as_json: bool) -> None:
    """Scaffold a policy repository that works on this machine at once.

    Nothing that is there is overwritten.

    \b
    Example:  bcsctl init my-policies --protect ~/documents
              bcsctl apply my-policies
    """
    from engine.reconcile.scaffold import scaffold

    folder = Path(directory)
    files = scaffold(folder, tuple(Path(path).expanduser() for path in protect))
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        tell(printable(str(file)))
    say(f"next: bcsctl apply {'' if directory == '.' else printable(shlex.quote(directory))}".rstrip())
