"""The process in which a node runs a user's command: `python -m bcsctl.on_node`, the task on standard input.

The command is the one that runs on a workstation, with what it may not do taken away first: options that are not listed
here, groups that the user doesn't see, memory and time without end.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from engine.model.errors import BcsError, Refused, UsageError

MEMORY_BYTES = 3 << 30
CPU_SECONDS = 4 * 3600
_EVERY = frozenset({"as_json"})
OPTIONS: Mapping[str, frozenset[str]] = {
    "points": _EVERY | {"address", "from_at", "to_at", "point_class", "limit", "beside"},
    "ls": _EVERY | {"address", "at", "recursive", "hashed"},
    "cat": _EVERY | {"address", "at"},
    "diff": _EVERY | {"address", "before", "after", "content", "whole"},
    "log": _EVERY | {"address", "limit", "no_follow"},
    "search": _EVERY
    | {"pattern", "address", "from_at", "to_at", "larger", "smaller", "limit"}
    | {"size", "sha256", "blake3", "deleted"},
    "query": _EVERY | {"sql"},
    "report": _EVERY | {"name", "from_at", "to_at", "group", "form"},
    "history": _EVERY | {"limit"},
    "check": _EVERY | {"read_data", "sample"},
    "drill": _EVERY | {"group", "at", "checks", "on_demand", "afterwards", "host"},
}
"""What of each command's parameters a user may give. None of them names a file of the node."""


def main() -> None:
    """Read the task, run its command, end with its exit code."""
    _bound()
    task = json.load(sys.stdin)
    from bcsctl import app, opening, output
    from engine.plan.access import Sight

    argv = [str(each) for each in task["argv"]]
    os.environ |= {"BCS_SITE": "local", "BCS_ON_BEHALF_OF": task["caller"], "COLUMNS": str(task["columns"])}
    output.assume_terminal(bool(task["colour"]))
    opening.limit(Sight(tuple(task["globs"]) if task["globs"] is not None else None))
    try:
        check(argv)
    except BcsError as error:
        sys.exit(output.fail(error, "--json" in argv))
    except click.ClickException:
        pass  # the command says it itself
    app.main(argv)


def check(argv: Sequence[str]) -> None:
    """Raises Refused for a command or an option that users may not run here; click's own for what makes no sense."""
    from bcsctl.app import cli

    name = argv[0] if argv else ""
    if name not in OPTIONS:
        raise Refused(f"'{name}' is not run for users of the site", hint="run it on the node itself")
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    try:
        # The settings of the program around it: click keeps what a command's first context was told.
        context = command.make_context(name, list(argv[1:]), **cli.context_settings)
    except click.exceptions.Exit:
        raise UsageError("help is shown where you are") from None
    for parameter in command.params:
        given = context.get_parameter_source(str(parameter.name)) == click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in OPTIONS[name]:
            raise Refused(f"{parameter.opts[0]} names something of the node", hint="leave it out")


def _bound() -> None:
    for what, most in (
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    # Where memory or the processor is short, agents' batches come first.
    with suppress(OSError):
        os.nice(5)
        Path("/proc/self/oom_score_adj").write_text("800")


def parameters_of(name: str) -> set[str]:
    """All parameters of a command, for the test that each was thought of."""
    from bcsctl.app import cli

    command: Any = cli.get_command(click.Context(cli), name)
    return {str(parameter.name) for parameter in command.params}


if __name__ == "__main__":
    main()
