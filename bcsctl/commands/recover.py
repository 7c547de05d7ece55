"""bcsctl recover: the recoveries on demand that fill on this machine, and on the hosts of a site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from bcsctl.completing import RECOVERIES
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, print_json, printable, say, table, tell
from bcsctl.restoring import on_demand_afar, recover_afar, recover_here
from bcsctl.restoring.recover_here import say_written, told
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.fill.base import FAILED, FILLING, FINISHING, LIVING
from engine.fill.life import recoveries
from engine.model.errors import UsageError
from engine.model.times import SECOND, format_about, format_size

COLOURS = {FILLING: BUSY, FINISHING: BUSY, recoveries.PAUSED: BUSY, recoveries.UNGUARDED: BAD, FAILED: BAD}
COLOURS |= {recoveries.CUT_OFF: BAD}

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group("recover", epilog=exits(4, 5))
def command() -> None:
    """See and steer what `restore --on-demand` fills, on this machine and on the hosts of its site.

    A tree that was restored on demand is used like any other while it fills: what is read before it is there is
    fetched at once, the rest follows, what was lately and often changed first.

    ID is a recovery's, or that of an order: then it is done to all that were asked for together. The beginning of it
    will do.

    \b
    Example:  bcsctl recover list
    """


def _of_one(function: _Command) -> _Command:
    for option in (json_option, home_option, site_option, click.argument("id", shell_complete=RECOVERIES)):
        function = option(function)
    return function


@command.command("list", epilog=exits())
@click.option("--all", "ended", is_flag=True, help="Those too that have ended, for a week.")
@site_option
@home_option
@json_option
def listed(ended: bool, home: str | None, as_json: bool) -> None:
    """List what is being filled, and how far it is, and for a week what was written to while nobody guarded it.

    \b
    Example:  bcsctl recover list --all
    """
    where = settings(home)
    found = [each for each in recoveries.recoveries(where.home) if ended or each.living or each.written]
    there = [each for each in on_demand_afar.listed(where) if ended or each["open"] or each["written_unguarded"]]
    rows = [*(told(each) for each in found), *there]
    if as_json:
        print_json({"recoveries": rows})
        return
    # What has ended and was written to unguarded is told below the table: it is not being filled.
    shown = [told(each) for each in found if ended or each.living]
    shown += [each for each in there if ended or each["open"]]
    if shown:
        table(
            ["ID", "SOURCE", "DIRECTORY", "STATE", "BY", "FILLED", "OF", "A SECOND", "LEFT"],
            [_row(each) for each in shown],
            right=("FILLED", "OF", "A SECOND", "LEFT"),
        )
    else:
        tell("nothing is being recovered on demand")
    _say_orders(rows)
    for each in found:
        for path in each.progress.damaged:
            say(
                f"{each.recipe.id}: {printable(path)} has bytes that the journal has lost: `bcsctl check` says which",
                BAD,
            )
        if each.word == recoveries.UNGUARDED:
            say(f"{each.recipe.id}: {each.danger}", BAD)
        if each.word == recoveries.CUT_OFF:
            text = f"was cut off while it was made: `bcsctl recover cancel {each.recipe.id}` takes it away"
            say(f"{each.recipe.id}: {printable(each.recipe.dir)} {text}", BAD)
        say_written(each)
        if each.living and each.progress.away:
            say(f"{each.recipe.id}: the contents can't be reached; readers wait", BUSY)
    for row in there:
        recover_afar.say_of(row)


def _say_orders(rows: Sequence[Mapping[str, Any]]) -> None:
    """Which trees were asked for together."""
    orders: dict[str, list[str]] = {}
    for each in rows:
        if each.get("order"):
            orders.setdefault(each["order"], []).append(each["id"])
    for order, ids in orders.items():
        say(f"order {order}: {', '.join(ids)}")


@command.command("pause", epilog=exits(4, 5))
@_of_one
def pause(id: str, home: str | None, as_json: bool) -> int:
    """Fill nothing but what is read, until `resume`.

    \b
    Example:  bcsctl recover pause 3f2a
    """
    where = settings(home)
    if there := recover_afar.of_host(where, id):
        return recover_afar.steer(where, there, as_json, "pause", paused=True, finish=False)
    if trees := recover_afar.of_order(where, id):
        return recover_afar.each(
            trees,
            as_json,
            lambda one, answer: recover_afar.steer(where, one, as_json, "pause", answer, paused=True, finish=False),
        )
    return recover_here.pause(where, id, as_json)


@command.command("resume", epilog=exits(4, 5))
@click.option("--rate", metavar="SIZE", help="Fill so much a second, 100MiB say, or `unlimited`.")
@_of_one
def resume(id: str, rate: str | None, home: str | None, as_json: bool) -> int:
    """Go on filling; begin again what nobody fills.

    \b
    Example:  bcsctl recover resume 3f2a --rate 50MiB
    """
    from bcsctl.restoring.on_demand import rate_of

    where = settings(home)
    changes: dict[str, Any] = {"rate_bytes": rate_of(rate)} if rate is not None else {}
    if there := recover_afar.of_host(where, id):
        return recover_afar.steer(where, there, as_json, "resume", paused=False, **changes)
    if trees := recover_afar.of_order(where, id):
        return recover_afar.each(
            trees,
            as_json,
            lambda one, answer: recover_afar.steer(where, one, as_json, "resume", answer, paused=False, **changes),
        )
    return recover_here.resume(where, id, as_json, **changes)


@command.command("cancel", epilog=exits(4, 5))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--gone", is_flag=True, help="Its host is gone for good: close it, though nothing is known of the tree.")
@_of_one
def cancel(id: str, yes: bool, gone: bool, home: str | None, as_json: bool) -> int:
    """Remove the tree, and all that was written into it since.

    What is not filled yet would be zeros: so the tree can't stay without its filler. `finish` fills it. A tree on a
    host goes once the host is heard; of one that never will be, --gone closes it, and that is recorded.

    \b
    Example:  bcsctl recover cancel 3f2a --yes
    """
    where = settings(home)
    if there := recover_afar.of_host(where, id):
        return (recover_afar.forsake if gone else recover_afar.cancel)(where, there, as_json, yes)
    if trees := recover_afar.of_order(where, id):
        if not yes:
            recover_afar.confirmed(trees)
        end = recover_afar.forsake if gone else recover_afar.cancel
        return recover_afar.each(trees, as_json, lambda one, answer: end(where, one, as_json, True, answer))
    if gone:
        raise UsageError("--gone is for a tree on another host", hint="leave it out: the tree is removed here")
    return recover_here.cancel(where, id, as_json, yes)


@command.command("finish", epilog=exits(4, 5, 6))
@_of_one
def finish(id: str, home: str | None, as_json: bool) -> int:
    """Fill the rest at full speed, and wait until nothing of ours is needed any more.

    \b
    Example:  bcsctl recover finish 3f2a
    """
    where = settings(home)
    if there := recover_afar.of_host(where, id):
        return recover_afar.finish(where, there, as_json)
    if trees := recover_afar.of_order(where, id):
        recover_afar.hurry(where, trees)
        return recover_afar.each(trees, as_json, lambda one, answer: recover_afar.finish(where, one, as_json, answer))
    return recover_here.finish(where, id, as_json)


def _row(one: Mapping[str, Any]) -> list[Any]:
    left = one["seconds_left"]
    place = f"{one['host']}:{one['dir']}" if one["host"] else one["dir"]
    over = one["state"] not in (*LIVING, recoveries.PAUSED, "waiting", "cancelling")
    return [
        one["id"],
        one["address"],
        printable(place),
        (one["state"], COLOURS.get(one["state"], GOOD if over else DIM)),
        one["mechanism"],
        format_size(one["bytes_filled"]),
        format_size(one["bytes_total"]),
        format_size(one["rate_bytes"]) if one["rate_bytes"] else "-",
        format_about(round(left * SECOND)) if left else "-",
    ]
