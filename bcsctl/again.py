"""The command that was given, with another moment: hints that work when they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar, cast

import click

from bcsctl.sites import asked
from engine.model.errors import NothingThere

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LEFT_OUT = frozenset({"at", "as_json"})


def moment_named(function: _Command) -> _Command:
    """A command with `--at` that, refused for its moment, names the same one with a moment that there is."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except NothingThere as error:
            raise _with_command(error) from None

    return cast("_Command", run)


def with_moment(at: str) -> str:
    """The running command as of another moment, for a shell; empty where none runs."""
    context = click.get_current_context(silent=True)
    if context is None:
        return ""
    values = [value for parameter in context.command.params for value in _values(context, parameter)]
    options = [word for parameter in context.command.params for word in _options(context, parameter)]
    return shlex.join([*context.command_path.split(), *values, "--at", at, *options])


def _with_command(error: NothingThere) -> NothingThere:
    """The refusal of a moment of one source, with the command that has a point; any other as it is."""
    near = error.details.get("before") or error.details.get("after")
    if "command" in error.details or not isinstance(near, dict) or "point" not in near:
        return error
    command = with_moment(f"point:{near['point']}")
    if not command:
        return error
    details = {**error.details, "command": command}
    return NothingThere(error.message, hint=f"{error.hint}; `{command}` works", details=details)


def _values(context: click.Context, parameter: click.Parameter) -> Iterator[str]:
    """The words of an argument that was given."""
    if isinstance(parameter, click.Argument) and _is_given(context, parameter):
        yield from map(str, _listed(context.params[str(parameter.name)]))


def _options(context: click.Context, parameter: click.Parameter) -> Iterator[str]:
    """The words of an option that was given."""
    name = str(parameter.name)
    if not isinstance(parameter, click.Option) or name in _LEFT_OUT or not _is_given(context, parameter):
        return
    given = context.params[name] if name in context.params else asked()[1]
    for value in _listed(given):
        yield parameter.opts[0]
        if not parameter.is_flag:
            yield str(value)


def _is_given(context: click.Context, parameter: click.Parameter) -> bool:
    return context.get_parameter_source(str(parameter.name)) == click.core.ParameterSource.COMMANDLINE


def _listed(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)
