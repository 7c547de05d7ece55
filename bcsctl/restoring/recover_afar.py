"""bcsctl recover of a tree on a host: asked of the node, done by who tends the tree there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from bcsctl.output import BAD, BUSY, GOOD, print_json, printable, progress, say, tell
from bcsctl.restoring import on_demand_afar
from bcsctl.restoring.on_demand_afar import CANCELLING, find, give_up, look, want
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.fill.base import CANCELLED, FAILED
from engine.fill.life import recoveries
from engine.model.counts import counted
from engine.model.errors import BcsError, Failed, NothingThere, Refused, UsageError
from engine.model.times import SECOND, format_about, format_size, parse_time

HELD_SECONDS = 4.0
CANCEL_SECONDS = 60.0
SILENT_SECONDS = 15
WAIT_SECONDS = 2.0

Answer = Callable[..., None]
"""Says what came of one tree, as `_answer` does."""


def of_host(where: Settings, id: str) -> dict[str, Any] | None:
    """The tree on a host that is meant; None when it is one of this machine. NothingThere when it may be both."""
    here = recoveries.known(where.home, id)
    there = find(where, id)
    if here and there is not None:
        raise NothingThere(f"several recoveries begin with '{id}'", hint="`bcsctl recover list` shows them")
    return there


def of_order(where: Settings, id: str) -> list[dict[str, Any]]:
    """The trees on hosts that were ordered together; empty when that is no order of hosts."""
    return [] if recoveries.known(where.home, id) else on_demand_afar.of_order(where, id)


def each(found: Sequence[Mapping[str, Any]], as_json: bool, act: Callable[[Mapping[str, Any], Answer], int]) -> int:
    """Do it to each tree of an order that has not ended, where one that can't be keeps no other from it; the gravest
    exit code."""
    rows: list[Mapping[str, Any]] = []
    code = 0

    def answered(now: Mapping[str, Any], as_json: bool, text: str, colour: str | None = None) -> None:
        rows.append(dict(now))
        if not as_json:
            tell(printable(text), colour)

    for one in [row for row in found if row["open"]] or found:
        try:
            code = max(code, act(one, answered))
        except BcsError as why:
            hint = f"; {why.hint}" if why.hint else ""
            answered({**one, "error": why.message}, as_json, f"{one['id']}: {why.message}{hint}", BAD)
            code = max(code, why.exit_code)
    if as_json:
        print_json({"order": found[0]["order"], "recoveries": rows})
    return code


def steer(
    where: Settings, found: Mapping[str, Any], as_json: bool, what: str, answer: Answer | None = None, **changes: Any
) -> int:
    """Pause it, or let it go on."""
    now = _asked(where, found, what, **changes)
    (answer or _answer)(now, as_json, f"recovery {now['id']} on {now['host']} is {what}d{_unless_heard(now)}")
    return 0


def confirmed(found: Sequence[Mapping[str, Any]]) -> None:
    """Ask whether all trees of an order are to go. Refused where nobody can be asked."""
    still = [each for each in found if each["open"]]
    if still:
        places = ", ".join(_place(each) for each in still)
        _confirm(
            f"cancelling removes {counted(len(still), 'tree')}", f"All that was written there since goes: {places}"
        )


def cancel(where: Settings, found: Mapping[str, Any], as_json: bool, yes: bool, answer: Answer | None = None) -> int:
    """Have the tree removed there, and wait for that."""
    if found["open"] and not yes:
        _confirm("cancelling removes the tree", f"{_place(found)} goes, with all that was written there since.")
    if found["state"] != CANCELLING:
        found = _asked(where, found, "cancel", cancel=True)
    now = dict(found)
    ends = SYSTEM.monotonic() + CANCEL_SECONDS
    while now["open"] and SYSTEM.monotonic() < ends and not _silent(now):
        now = look(where, now["id"], WAIT_SECONDS, now["version"])
    if now["open"]:
        raise Failed(
            f"host {now['host']} has not removed {now['dir']} yet{_unless_heard(now)}",
            hint="it is given nothing more, and removes the tree as soon as it hears of it; if it is gone for good: "
            f"`bcsctl recover cancel {now['id']} --gone`",
        )
    if now["state"] != CANCELLED:
        raise Failed(f"recovery {now['id']} ended before it could be cancelled: {now['state']}", hint=now["error"])
    (answer or _answer)(now, as_json, f"{_place(now)} is removed")
    return 0


def forsake(where: Settings, found: Mapping[str, Any], as_json: bool, yes: bool, answer: Answer | None = None) -> int:
    """Close it though its host will never say what became of the tree."""
    from engine.recovery.acts import who_acts

    _refuse_ended(found)
    if not yes:
        _confirm("nobody will know of the tree", f"Nobody will know what became of {_place(found)}.")
    now = give_up(where, found["id"], who_acts())
    (answer or _answer)(now, as_json, f"recovery {now['id']} is closed: {now['error']}", BUSY)
    return 0


def _confirm(why: str, text: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{why}, and nobody can be asked", hint="say --yes")
    say(printable(text), BUSY)
    click.confirm("Go on?", abort=True, err=True)


def hurry(where: Settings, found: Sequence[Mapping[str, Any]]) -> None:
    """Have all of an order filled at full speed before the first of them is waited for."""
    for each in found:
        if each["open"]:
            with suppress(BcsError):  # it is asked again, and told, when it is its turn
                _asked(where, each, "finish", finish=True, paused=False)


def finish(where: Settings, found: Mapping[str, Any], as_json: bool, answer: Answer | None = None) -> int:
    """Have the rest filled at full speed, and wait for it; 6 when not all is as it should be."""
    now = look(where, found["id"])
    if now["open"]:
        now = _await_whole(where, _asked(where, now, "finish", finish=True, paused=False), as_json)
    if now["state"] in (FAILED, CANCELLED):
        raise Refused(f"recovery {now['id']} has ended: {now['state']}", hint=now["error"])
    damaged = now["damaged"] if now["open"] else []
    bad = len(damaged) or len(now["written_unguarded"])
    not_so = "is not as it was" if bad == 1 else "are not as they were"
    text = f"{_place(now)} is whole" if not bad else f"{_place(now)}: {counted(bad, 'file')} {not_so}"
    (answer or _answer)(now, as_json, text, BAD if bad else GOOD)
    say_of(now)
    return 6 if bad else 0


def say_of(row: Mapping[str, Any]) -> None:
    """What has to be known of a tree on a host beside its row."""
    for path in row["damaged"]:
        say(f"{row['id']}: {printable(path)} has bytes that the journal has lost: `bcsctl check` says which", BAD)
    for path in row["written_unguarded"]:
        say(f"{row['id']}: {printable(path)} was written to while nobody guarded the tree", BAD)
    if row["open"] and row["away"]:
        say(f"{row['id']}: its host can't reach the node; readers wait there", BUSY)
    if row["error"]:
        say(f"{row['id']}: {printable(row['error'])}", BAD)
    if row["open"] and _silent(row):
        say(f"{row['id']}{_unless_heard(row)}", BUSY)


def _await_whole(where: Settings, now: dict[str, Any], as_json: bool) -> dict[str, Any]:
    held_since: float | None = None
    told = False
    with progress(as_json) as drawn:
        task = drawn.add_task("filling", total=now["bytes_total"] or None)
        while now["open"]:
            drawn.update(task, completed=now["bytes_filled"], total=now["bytes_total"] or None)
            if now["damaged"] and now["files_left"] and now["files_left"] <= len(now["damaged"]):
                return now
            held_since = (held_since or SYSTEM.monotonic()) if now["holds"] else None
            if held_since is not None and SYSTEM.monotonic() - held_since > HELD_SECONDS:
                raise Refused(
                    f"everything is filled, and {now['holds'][0]}",
                    hint="nothing is lost: the mount goes by itself once nobody uses it",
                    details={"holds": now["holds"]},
                )
            if _silent(now) and not told:
                told = True
                say(f"host {now['host']} is silent; it fills on, and says so once it is heard again", BUSY)
            now = look(where, now["id"], WAIT_SECONDS, now["version"])
    return now


def _asked(where: Settings, found: Mapping[str, Any], what: str, **changes: Any) -> dict[str, Any]:
    from engine.recovery.acts import who_acts

    _refuse_ended(found)
    return want(where, found["id"], what, who_acts(), **changes)


def _refuse_ended(found: Mapping[str, Any]) -> None:
    if not found["open"]:
        how = found["state"] if found["state"] in (FAILED, CANCELLED) else f"{_place(found)} is whole, and stays"
        raise Refused(f"recovery {found['id']} has ended: {how}", hint="`bcsctl recover list` shows those that fill")


def _silent(row: Mapping[str, Any]) -> bool:
    heard = row["heard_at"] or row["begun_at"]
    return SYSTEM.now() - parse_time(heard, 0) > SILENT_SECONDS * SECOND


def _unless_heard(row: Mapping[str, Any]) -> str:
    if not _silent(row):
        return ""
    since = SYSTEM.now() - parse_time(row["heard_at"] or row["begun_at"], 0)
    return f", once host {row['host']} is heard: it has been silent for {format_about(since)}"


def _answer(now: Mapping[str, Any], as_json: bool, text: str, colour: str | None = None) -> None:
    if as_json:
        print_json(dict(now))
    else:
        tell(printable(text), colour)


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['host']}:{row['dir']} ({format_size(row['bytes_total'])})"
