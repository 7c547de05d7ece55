"""The command line's entry: finds the command, runs it, turns every error into its exit code.

Commands are imported only when they run, so that `--help` and `validate` start at once.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import click

from bcsctl.output import fail, printable
from engine.model.errors import BcsError, Failed, UsageError

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("Begin", "Scaffold a policy repository that works on this machine at once."),
    "validate": ("Begin", "Check policies: schema and cross references."),
    "schema": ("Begin", "Print the JSON Schema of the policies."),
    "plan": ("Apply", "Show what apply would do, with reasons."),
    "apply": ("Apply", "Make it so."),
    "history": ("Apply", "List the applied policies."),
    "status": ("Apply", "Show every source: policy, agent, data."),
    "notify": ("Apply", "List who is told of what, and send test messages."),
    "down": ("Apply", "Stop the embedded node and agent; keep the history."),
    "points": ("Look", "List recovery points, marks and gaps of a source."),
    "mark": ("Look", "Set a named point over every source of a group."),
    "ls": ("Look", "List a directory as it was."),
    "cat": ("Look", "Print a file as it was."),
    "diff": ("Look", "Compare two moments of a source."),
    "log": ("Look", "List every version of a path."),
    "search": ("Look", "Find names in all of the history."),
    "mount": ("Recover", "Show any moment as a read-only file system."),
    "recover": ("Recover", "See and steer the trees that are filled on demand."),
    "restore": ("Recover", "Bring back a file, a tree, a source, a host or a group as of any moment."),
    "scratch": ("Recover", "See, check, promote and discard restores to scratch."),
    "drill": ("Prove", "Restore a group to scratch, check it, record the evidence."),
    "report": ("Prove", "Write a report, the recovery audit for one."),
    "check": ("Prove", "Verify the journal: structure, or every byte."),
    "query": ("Prove", "Ask the history in SQL, read-only."),
    "login": ("Sign in", "Sign in to a site."),
    "logout": ("Sign in", "Forget a site and its token."),
    "whoami": ("Sign in", "Show who a site takes you for, and what you may do."),
    "token": ("Sign in", "Make, list and revoke tokens."),
    "certificate": ("Sign in", "List and revoke hosts' certificates, enrol hosts."),
    "compact": ("Maintain", "Merge segments and make checkpoints now."),
    "agent": ("Services", "Show how the agent on this machine is."),
    "serve": ("Services", "Run a node (what apply and the services start)."),
}
"""Every command with its section and one line of help; its module is bcsctl/commands/NAME.py."""

STAYING = ("serve", "mount")
COMPLETING = "_BCSCTL_COMPLETE"
"""Set by a shell that completes a command line."""
SOON_OVER_OBJECTS = 1_000_000
"""All other commands are soon over: looking for cycles after so many new objects, and not 700, saves them a tenth."""


class LazyGroup(click.Group):
    """Commands by name, each module imported when its command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"bcsctl.commands.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS and not ctx.resilient_parsing:
            raise UsageError(f"there is no command '{name}'", hint=nearest(name))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(section for section, _ in COMMANDS.values()):
            rows = [(name, text) for name, (of, text) in COMMANDS.items() if of == section]
            with formatter.section(section):
                formatter.write_dl(rows)


def nearest(name: str) -> str:
    """A hint that names the command most like a mistyped one."""
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, 1)
    return f"did you mean '{close[0]}'?" if close else "`bcsctl --help` lists the commands"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="bcsctl")
def cli() -> None:
    """Keep every change of what must not be lost, and bring any moment of it back.

    \b
    Begin with:   bcsctl init policies && bcsctl apply policies
    Then:         bcsctl status
    And one day:  bcsctl restore GROUP/HOST/SOURCE --at -10m --to DIR

    Exit codes: 0 done, 1 failed, 2 usage, 3 policy invalid, 4 refused by a guard,
    5 nothing to restore there, 6 verification found a difference, 10 plan found changes.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    staying = given[:1] and given[0] in STAYING
    if given[:1] and not staying:
        gc.set_threshold(SOON_OVER_OBJECTS)
    if COMPLETING in os.environ:
        importlib.import_module("bcsctl.completing")  # how bash is answered must be known before any command is
    code = _run(given)
    if arguments is None and not staying:
        _end(code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """The command's exit code; what went wrong is told."""
    as_json = "--json" in arguments
    try:
        code = cli.main(arguments, prog_name="bcsctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except BcsError as error:
        return fail(error, as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        usage = (
            f"`{error.ctx.command_path} --help` shows how" if isinstance(error, click.UsageError) and error.ctx else ""
        )
        return fail(UsageError(error.format_message(), hint=usage), as_json)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        # The reader (`head`, `less`) has gone: not an error, but nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{printable(os.fsdecode(error.filename))}: " if isinstance(error.filename, (str, bytes)) else ""
        return fail(Failed(f"{where}{error.strerror or error}"), as_json)
    except Exception as error:
        return fail(fault_of(error), as_json)


def _end(code: int) -> None:
    """End this process as the interpreter does, but without taking each of its objects apart first: that costs a tenth
    of what a short command does, and more after a restore of many files. Returns if something can't be written."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads; what exit handlers use is there still
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed before we began
                stream.flush()
        os._exit(code)


def fault_of(error: Exception) -> Failed:
    """A fault of ours, its traceback on standard error. Who sees a part of a node's groups is told the place alone: a
    value that stands in the error may be of the others."""
    import traceback

    if os.environ.get("BCS_ON_BEHALF_OF"):
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)} line {place.lineno}"
        return Failed(f"a fault in bcsctl itself: {type(error).__name__} in {where}", hint="report it")
    traceback.print_exception(error)
    return Failed(f"a fault in bcsctl itself: {type(error).__name__}: {error}", hint="report it, with what is above")
