"""Secrets that are shown once: on standard output, or in a new file of the user's alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from bcsctl.output import DIM, print_json, say, tell
from engine.env import durable
from engine.model.errors import UsageError

output_option = click.option(
    "--output", metavar="FILE", help="Write it to a new file, for you alone, instead of standard output."
)


def ask_and_show(ask: Callable[[], Mapping[str, Any]], output: str | None, as_json: bool, said: str) -> dict[str, Any]:
    """Ask for a secret and show its `token`. What could keep it from being written is looked for before it is made.

    `said` is what people are told of it. The answer; without the token if that was written.
    """
    file = Path(output).expanduser().absolute() if output else None
    if file and (file.exists() or not os.access(file.parent, os.W_OK | os.X_OK)):
        raise UsageError(f"{file} can't be made: it is there, or its directory isn't yours", hint="name another file")
    made = dict(ask())
    if file:
        durable.create(file.parent, file.name, f"{made.pop('token')}\n".encode(), mode=0o600)
    if as_json:
        print_json(made)
        return made
    say(said + (f", in {file}" if file else ""), DIM)
    if not file:
        tell(str(made["token"]))
    return made
