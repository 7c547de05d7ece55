"""Which site a command means: `--site`, BCS_SITE, `site` in bcs.toml; else the embedded one if it is there; else the
only one that this user has signed in to.

A command of a remote site is given to its node as it is; only what belongs to this machine stays here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.model.errors import UsageError
from engine.model.policy.site import EMBEDDED_SITE

if TYPE_CHECKING:
    from engine.env.credentials import Credential

OF_THIS_MACHINE = frozenset({"home", "site"})
"""Options that say where a command looks, and are not passed on."""
_ASKED = "bcsctl.site"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def site_option(command: _Command) -> _Command:
    """`--site NAME` on a command. `bcsctl.settings.settings` then knows the site; the command takes no parameter."""
    return click.option(
        "--site",
        metavar="NAME",
        expose_value=False,
        callback=_noted,
        help="The site that it is about (default: BCS_SITE, bcs.toml; `local` is the embedded one).",
    )(command)


def asked() -> tuple[bool, str | None]:
    """Whether the running command is one of a site, and the one that was asked for."""
    context = click.get_current_context(silent=True)
    return (False, None) if context is None or _ASKED not in context.meta else (True, context.meta[_ASKED])


def remote_site(journal: Path, *, home_given: bool, written: str | None) -> Credential | None:
    """How to reach the site that the running command means; None for the one whose `journal` is on this machine.

    `home_given` says that the command line names a home, `written` is the site of bcs.toml. UsageError for a site that
    nobody signed in to.
    """
    concerned, flag = asked()
    if not concerned:
        return None
    if flag and home_given:
        raise UsageError("--site and --home name two sites", hint="leave one of them out")
    name = flag or (None if home_given else os.environ.get("BCS_SITE") or written)
    if home_given or name == EMBEDDED_SITE:
        return None
    from engine.env import credentials

    if name:
        found = credentials.read(name)
        if found is None:
            known = ", ".join(credentials.sites())
            hint = f"you are signed in to {known}" if known else "`bcsctl login URL` signs in"
            raise UsageError(f"you are not signed in to a site '{name}'", hint=hint)
        return found
    if journal.exists():
        return None
    if os.environ.get("BCS_URL"):
        return credentials.read("")
    known_sites = credentials.sites()
    return credentials.read(known_sites[0]) if len(known_sites) == 1 else None


class SiteCommand(click.Command):
    """A command that reads a journal: of a remote site it runs on the site's node."""

    def invoke(self, ctx: click.Context) -> Any:
        from bcsctl.settings import settings

        there = settings(ctx.params.get("home")).site
        if there is None:
            return super().invoke(ctx)
        from bcsctl.remote import run

        return run(there, [str(self.name), *arguments(ctx)])


def arguments(ctx: click.Context) -> list[str]:
    """What was given on the command line, but for what belongs to this machine; in a form that is read as the same."""
    options: list[str] = []
    values: list[str] = []
    for parameter in ctx.command.params:
        name = str(parameter.name)
        if name in OF_THIS_MACHINE or ctx.get_parameter_source(name) != click.core.ParameterSource.COMMANDLINE:
            continue
        given = ctx.params[name]
        listed = given if isinstance(given, tuple) else (given,)
        if isinstance(parameter, click.Argument):
            values += [str(each) for each in listed]
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            options.append(parameter.opts[0])
        else:
            options += [f"{parameter.opts[0]}={each}" for each in listed]
    return [*options, "--", *values]


def _noted(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    ctx.meta[_ASKED] = value
    return value
