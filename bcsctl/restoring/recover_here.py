"""bcsctl recover of trees on this machine: of one recovery, or of all that were asked for together."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from bcsctl.output import BAD, BUSY, GOOD, print_json, printable, progress, say, tell
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.fill.base import CANCELLED, FAILED
from engine.fill.kept.documents import UNGUARDED
from engine.fill.life import recoveries
from engine.fill.life.recoveries import Recovery
from engine.fill.life.shown import as_json as as_json_of
from engine.model.counts import counted
from engine.model.errors import BcsError, Failed, Refused, UsageError
from engine.model.times import format_size

WRITTEN_SHOWN = 20
LOOK_SECONDS = 0.2
HELD_SECONDS = 2.0
"""So long is waited, once all is filled, for those who hold the mount; then they are named."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one recovery: for the eye, the lines below it, and the exit code."""

    text: str
    colour: str | None = None
    code: int = 0
    more: Callable[[], None] = lambda: None


def pause(where: Settings, id: str, as_json: bool) -> int:
    """Fill nothing but what is read."""

    def act(found: Recovery) -> Done:
        if found.word == recoveries.UNGUARDED:
            raise Refused(
                f"nobody fills {found.recipe.dir}, so there is nothing to pause: {found.danger}",
                hint=f"`bcsctl recover resume {found.recipe.id}` guards it again; pause it then",
            )
        return _steered(where, found, "pause", {"paused": True, "finish": False})

    order, found = recoveries.meant(where.home, id)
    return _each(order, _open(found), as_json, act)


def resume(where: Settings, id: str, as_json: bool, **changes: Any) -> int:
    """Go on; begin again what nobody fills."""
    revived(where)
    order, found = recoveries.meant(where.home, id)
    return _each(
        order, _open(found), as_json, lambda each: _steered(where, each, "resume", {"paused": False, **changes})
    )


def cancel(where: Settings, id: str, as_json: bool, yes: bool) -> int:
    """Remove the trees, once it is sure that it is meant."""

    def act(found: Recovery) -> Done:
        recoveries.want(found)
        state = recoveries.cancel(found)
        stays = found.word == recoveries.CUT_OFF and os.path.isdir(found.recipe.dir)
        _record(where, found, "cancel")
        if state.state != CANCELLED:
            raise Failed(f"recovery {found.recipe.id} ended before it could be cancelled", hint="its tree is whole")
        text = "is removed" if not stays else "stays: what was made in it is removed, what others put there is not"
        return Done(f"{found.recipe.dir} {text}")

    order, known = recoveries.meant(where.home, id)
    found = _open(known)
    if not yes and (living := [each for each in found if each.living]):
        _ask(living)
    return _each(order, found, as_json, act)


def finish(where: Settings, id: str, as_json: bool) -> int:
    """Have all of it filled at full speed, and wait until it is; 6 when not all is as it should be."""
    order, found = recoveries.meant(where.home, id)
    if order:
        found = [each for each in found if each.state.state != CANCELLED] or found
    if any(each.living for each in found):
        revived(where)
    for each in found:
        if each.living:
            recoveries.want(each, finish=True, paused=False)
            _record(where, each, "finish")
    return _each(order, found, as_json, lambda each: _finished(each, as_json))


def _finished(found: Recovery, as_json: bool) -> Done:
    if found.living:
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

    def more() -> None:
        for path in damaged[:WRITTEN_SHOWN]:
            say(f"{found.recipe.id}: {printable(path)}: what the journal has of it is damaged; reads give errors", BAD)
        say_written(found)

    return Done(word, BAD if bad else GOOD, 6 if bad else 0, more)


def _open(found: Sequence[Recovery]) -> Sequence[Recovery]:
    """Of an order those that have not ended; all where none is left, which then say so."""
    return [each for each in found if each.living] or found


def _each(order: str, found: Sequence[Recovery], as_json: bool, act: Callable[[Recovery], Done]) -> int:
    """Do it to one, or to each of an order, where one that can't be keeps no other from it; the gravest exit code."""
    rows: list[Mapping[str, Any]] = []
    code = 0
    for each in found:
        try:
            done, error = act(each), ""
        except BcsError as why:
            if not order:
                raise
            hint = f"; {why.hint}" if why.hint else ""
            done, error = Done(f"{each.recipe.id}: {why.message}{hint}", BAD, why.exit_code), why.message
        rows.append({**told(recoveries.look(each.place)), **({"error": error} if error else {})})
        code = max(code, done.code)
        if not as_json:
            tell(printable(done.text), done.colour)
        done.more()
    if as_json:
        print_json({"order": order, "recoveries": rows} if order else rows[0])
    return code


def _steered(where: Settings, found: Recovery, what: str, changes: Mapping[str, Any]) -> Done:
    recoveries.want(found, **changes)
    _record(where, found, what)
    return Done(f"recovery {found.recipe.id} is {what}d")


def _ask(found: Sequence[Recovery]) -> None:
    trees = "the tree" if len(found) == 1 else counted(len(found), "tree")
    if not sys.stdin.isatty():
        raise UsageError(f"cancelling removes {trees}, and nobody can be asked", hint="say --yes")
    for each in found:
        left = format_size(each.progress.bytes_total - each.progress.bytes_filled)
        place = printable(each.recipe.dir)
        say(f"{place} goes, with all that was written there since; {left} are not filled yet.", BUSY)
    click.confirm("Remove it?" if len(found) == 1 else f"Remove all {len(found)}?", abort=True, err=True)


def say_written(found: Recovery) -> None:
    """Files of which not all is as it should be, since nobody guarded them while they were written to."""
    for path in found.written[:WRITTEN_SHOWN]:
        back = f"{found.recipe.address}:{os.path.join(found.recipe.base, path)}"
        say(
            f"{found.recipe.id}: {printable(path)} was {UNGUARDED}: between its written bytes it holds zeros; "
            f"`bcsctl restore {printable(shlex.quote(back))} --at point:{found.recipe.position} --to DIR` brings back "
            "what it was",
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
