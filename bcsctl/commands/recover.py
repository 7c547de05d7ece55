"""bcsctl recover: the recoveries on demand that fill on this machine, and on the hosts of a site."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, print_json, printable, progress, say, table, tell
from bcsctl.restoring import on_demand_afar, recover_afar
from bcsctl.settings import Settings, home_option, settings
from bcsctl.sites import site_option
from engine.env.clock import SYSTEM
from engine.fill.base import CANCELLED, FAILED, FILLING, FINISHING, LIVING
from engine.fill.kept.documents import UNGUARDED
from engine.fill.life import recoveries
from engine.fill.life.recoveries import Recovery
from engine.fill.life.shown import as_json as as_json_of
from engine.model.errors import Failed, Refused, UsageError
from engine.model.times import SECOND, format_about, format_size
from engine.node.monitoring.summary import counted

COLOURS = {FILLING: BUSY, FINISHING: BUSY, recoveries.PAUSED: BUSY, recoveries.UNGUARDED: BAD, FAILED: BAD}
COLOURS |= {recoveries.CUT_OFF: BAD}
WRITTEN_SHOWN = 20
LOOK_SECONDS = 0.2
HELD_SECONDS = 2.0
"""So long is waited, once all is filled, for those who hold the mount; then they are named."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group("recover", epilog=exits(4, 5))
def command() -> None:
    """See and steer what `restore --on-demand` fills, on this machine and on the hosts of its site.

    A tree that was restored on demand is used like any other while it fills: what is read before it is there is
    fetched at once, the rest follows, what was lately and often changed first.

    \b
    Example:  bcsctl recover list
    """


def _of_one(function: _Command) -> _Command:
    for option in (json_option, home_option, site_option, click.argument("id")):
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
    if not rows:
        tell("nothing is being recovered on demand")
        return
    table(
        ["ID", "SOURCE", "DIRECTORY", "STATE", "BY", "FILLED", "OF", "A SECOND", "LEFT"],
        [_row(each) for each in rows],
        right=("FILLED", "OF", "A SECOND", "LEFT"),
    )
    _say_orders(found)
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


def _say_orders(found: Sequence[Recovery]) -> None:
    """Which trees were asked for together."""
    orders: dict[str, list[str]] = {}
    for each in found:
        if each.recipe.order:
            orders.setdefault(each.recipe.order, []).append(each.recipe.id)
    for order, ids in orders.items():
        say(f"order {order}: {', '.join(ids)}")


@command.command("pause", epilog=exits(4, 5))
@_of_one
def pause(id: str, home: str | None, as_json: bool) -> int:
    """Fill nothing but what is read, until `resume`.

    \b
    Example:  bcsctl recover pause 3f2a
    """
    if there := recover_afar.of_host(settings(home), id):
        return recover_afar.steer(settings(home), there, as_json, "pause", paused=True, finish=False)
    found = recoveries.find(settings(home).home, id)
    if found.word == recoveries.UNGUARDED:
        raise Refused(
            f"nobody fills {found.recipe.dir}, so there is nothing to pause: {found.danger}",
            hint=f"`bcsctl recover resume {found.recipe.id}` guards it again; pause it then",
        )
    _wanted(settings(home), id, as_json, "pause", paused=True, finish=False)
    return 0


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
    changes = {"rate_bytes": rate_of(rate)} if rate is not None else {}
    if there := recover_afar.of_host(where, id):
        return recover_afar.steer(where, there, as_json, "resume", paused=False, **changes)
    revived(where)
    _wanted(where, id, as_json, "resume", paused=False, **changes)
    return 0


@command.command("cancel", epilog=exits(4, 5))
@click.option("--yes", is_flag=True, help="Do not ask.")
@_of_one
def cancel(id: str, yes: bool, home: str | None, as_json: bool) -> int:
    """Remove the tree, and all that was written into it since.

    What is not filled yet would be zeros: so the tree can't stay without its filler. `finish` fills it.

    \b
    Example:  bcsctl recover cancel 3f2a --yes
    """
    where = settings(home)
    if there := recover_afar.of_host(where, id):
        return recover_afar.cancel(where, there, as_json, yes)
    found = recoveries.find(where.home, id)
    if found.living and not yes:
        _ask(found)
    recoveries.want(found)
    state = recoveries.cancel(found)
    stays = found.word == recoveries.CUT_OFF and os.path.isdir(found.recipe.dir)
    _record(where, found, "cancel")
    if state.state != CANCELLED:
        raise Failed(f"recovery {found.recipe.id} ended before it could be cancelled", hint="its tree is whole")
    text = "is removed" if not stays else "stays: what was made in it is removed, what others put there is not"
    _answer(where, found.recipe.id, as_json, f"{found.recipe.dir} {text}")
    return 0


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
    found = recoveries.find(where.home, id)
    if found.living:
        revived(where)
        recoveries.want(found, finish=True, paused=False)
        _record(where, found, "finish")
        found = _await_whole(found, as_json)
    if found.state.state in (FAILED, CANCELLED):
        raise Refused(f"recovery {found.recipe.id} has ended: {found.state.state}", hint=found.state.error)
    damaged = found.progress.damaged if found.living else []
    word = f"{found.recipe.dir} is whole"
    if damaged:
        word = f"{counted(len(damaged), 'file')} can't be filled"
    elif found.written:
        were = "was" if len(found.written) == 1 else "were"
        word = f"{found.recipe.dir} is filled; {counted(len(found.written), 'file')} {were} {UNGUARDED}"
    bad = bool(damaged or found.written)
    _answer(where, found.recipe.id, as_json, word, BAD if bad else GOOD)
    for path in damaged[:WRITTEN_SHOWN]:
        say(f"{found.recipe.id}: {printable(path)}: what the journal has of it is damaged; reads give errors", BAD)
    say_written(found)
    return 6 if bad else 0


def say_written(found: Recovery) -> None:
    """Files of which not all is as it should be, since nobody guarded them while they were written to."""
    for path in found.written[:WRITTEN_SHOWN]:
        back = f"{found.recipe.address}:{os.path.join(found.recipe.base, path)}"
        say(
            f"{found.recipe.id}: {printable(path)} was {UNGUARDED}: between its written bytes it holds zeros; "
            f"`bcsctl restore {printable(back)} --at point:{found.recipe.position} --to DIR` brings back what it was",
            BAD,
        )
    if len(found.written) > WRITTEN_SHOWN:
        say(f"{found.recipe.id}: and {len(found.written) - WRITTEN_SHOWN:,} more; --json has all", BAD)


def revived(where: Settings) -> None:
    """Begin again what nobody guards any more, and say so."""
    for found, error in recoveries.revive(where.home):
        if error is None:
            say(f"recovery {found.recipe.id} goes on filling {printable(found.recipe.dir)}", GOOD)
        else:
            say(f"recovery {found.recipe.id}: {error.message}; {error.hint}", BAD)


def _await_whole(found: Recovery, as_json: bool) -> Recovery:
    """Until it has ended, or all is filled but what is damaged. Refused when somebody holds the mount."""
    held_since: float | None = None
    with progress(as_json) as drawn:
        task = drawn.add_task("filling", total=found.recipe.bytes or None)
        told = 0
        while found.living:
            now = found.progress
            drawn.update(task, advance=max(0, now.bytes_filled - told))
            told = max(told, now.bytes_filled)
            if now.damaged and now.files_left and now.files_left <= len(now.damaged):
                return found
            if now.holds and held_since is None:
                held_since = SYSTEM.monotonic()
            if now.holds and held_since is not None and SYSTEM.monotonic() - held_since > HELD_SECONDS:
                raise Refused(
                    f"everything is filled, and {now.holds[0]}",
                    hint="nothing is lost: the mount goes by itself once nobody uses it",
                    details={"holds": now.holds},
                )
            SYSTEM.sleep(LOOK_SECONDS)
            found = recoveries.look(found.place)
    recoveries.await_end(found.place)
    return recoveries.look(found.place)


def _wanted(where: Settings, id: str, as_json: bool, what: str, **changes: Any) -> None:
    found = recoveries.find(where.home, id)
    recoveries.want(found, **changes)
    _record(where, found, what)
    _answer(where, found.recipe.id, as_json, f"recovery {found.recipe.id} is {what}d")


def _answer(where: Settings, id: str, as_json: bool, text: str, colour: str | None = None) -> None:
    if as_json:
        print_json(told(recoveries.find(where.home, id)))
    else:
        tell(printable(text), colour)


def _ask(found: Recovery) -> None:
    if not sys.stdin.isatty():
        raise UsageError("cancelling removes the tree, and nobody can be asked", hint="say --yes")
    left = format_size(found.progress.bytes_total - found.progress.bytes_filled)
    say(f"{printable(found.recipe.dir)} goes, with all that was written there since; {left} are not filled yet.", BUSY)
    click.confirm("Remove it?", abort=True, err=True)


def _record(where: Settings, found: Recovery, what: str) -> None:
    """Have it recorded as an act on the source; a cancel is the end of the restore, too."""
    from engine.recovery.acts import record_act, who_acts
    from engine.recovery.on_demand.told import act_of

    record_act(where.home, "recover", who_acts(), {**act_of(found.recipe), "do": what})
    if what == "cancel":
        filled = {"bytes": found.progress.bytes_filled, "verified": False, "error": "cancelled"}
        record_act(where.home, "restore", who_acts(), {**act_of(found.recipe), **filled})


def told(found: Recovery) -> dict[str, Any]:
    """One recovery of this machine in JSON."""
    return {**as_json_of(found), "host": ""}


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
