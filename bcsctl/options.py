"""What commands have in common: how their help ends, and options that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from bcsctl.again import moment_named
from engine.model.errors import UsageError
from engine.model.times import parse_time

MEANINGS = {
    0: "done",
    1: "failed",
    2: "usage",
    3: "policy invalid",
    4: "refused by a guard",
    5: "nothing to restore there",
    6: "verification found a difference",
    10: "the plan holds changes",
}

_Command = TypeVar("_Command", bound=Callable[..., Any])


def exits(*codes: int) -> str:
    """The last paragraph of a command's help: its exit codes, those that every command has among them."""
    there = sorted({0, 1, 2, *codes})
    return "Exit codes: " + ", ".join(f"{code} {MEANINGS[code]}" for code in there) + "."


def moments(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What Tab offers after --at."""
    from bcsctl.completing import MOMENT

    return MOMENT(ctx, parameter, incomplete)


def at_option(command: _Command) -> _Command:
    """`--at MOMENT` on a command, as parameter `at`. Refused for its moment, it names the command that works."""
    return click.option(
        "--at",
        default="latest",
        metavar="MOMENT",
        shell_complete=moments,
        help="As of when: latest, now, 2026-11-22T10:00:00Z, -5m, point:1.1234 or mark:LABEL.",
    )(moment_named(command))


def of_group(text: str) -> str:
    """The name of a group as it was given. UsageError for the address of a source, naming its group."""
    group, slash, rest = text.partition("/")
    if not slash:
        return text
    what = "a source" if "/" in rest else "a host of a group"
    raise UsageError(f"'{text}' is {what}; its group is {group}", hint=f"write {group}: this is done group by group")


def period(from_at: str | None, to_at: str | None, now: int) -> tuple[int | None, int | None]:
    """`--from` and `--to` as times, microseconds, None for one not given. UsageError when they are reversed."""
    first, last = (parse_time(text, now) if text else None for text in (from_at, to_at))
    if first is not None and last is not None and first > last:
        raise UsageError(f"the period from {from_at} to {to_at} is empty", hint="--from comes before --to")
    return first, last
