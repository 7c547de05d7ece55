"""bcsctl restore --on-demand: the tree is there at once, its bytes come when they are read, the rest by and by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcsctl.entries import as_of, damage_is_a_difference
from bcsctl.node_client import post
from bcsctl.opening import Named, Scene, scene
from bcsctl.output import BUSY, GOOD, print_json, printable, say, tell
from bcsctl.restoring.acts import BEGUN, record
from bcsctl.restoring.view import point_of, render_plan, unreadable
from bcsctl.settings import Settings
from engine.model.counts import counted
from engine.model.errors import BcsError, UsageError
from engine.model.times import format_about, format_size, parse_size

if TYPE_CHECKING:
    from engine.fill.base import Recipe
    from engine.recovery.restoring import Prepared

UNLIMITED = "unlimited"
HOST = "localhost"
"""What policies of the embedded site call this machine."""


def on_demand(
    where: Settings,
    wanted: Named,
    at: str,
    folder: str,
    *,
    mechanism: str | None,
    rate: str | None,
    dry_run: bool,
    as_json: bool,
    into_protected: bool = False,
) -> int:
    """Make the tree, and return when it can be used."""
    from engine.fill.life.recoveries import clear, refuse_filling
    from engine.recovery.on_demand import making
    from engine.recovery.own_history import refuse_into_protected
    from engine.recovery.restoring import data_bytes, prepare
    from engine.recovery.told import plan_json, point_json

    if where.site is not None:
        raise UsageError(
            "on demand is for the machine on which the journal is", hint="run it there, or leave out --on-demand"
        )
    rate_bytes = making.RATE_BYTES if rate is None else rate_of(rate)
    target = Path(folder).expanduser().absolute()
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        point = there.point(at)
        if not dry_run:
            clear(where.home, os.path.realpath(target))
        refuse_filling(where.home, os.path.realpath(target))
        prepared = prepare(there.journal, there.session, there.stream, point, wanted.path, target)
        if not into_protected:
            refuse_into_protected(there.journal, [prepared], wanted.path, prepared.plan.target)
        data = data_bytes(there.session, prepared) if dry_run else None  # what is made at once does not wait for it
        plan = plan_json(prepared, prepared.plan.target, data)
        answer: dict[str, Any] = {"address": wanted.address, **point_json(point), "plan": plan}
        if dry_run:
            chosen, why = making.chosen(there.session, prepared, mechanism)
            return planned({**answer, "mechanism": chosen, "mechanism_why": why}, as_json)
        answer |= begin(where, there, prepared, mechanism, rate_bytes)
        answer["recorded"] = _recorded(where, there, prepared, answer)
    if as_json:
        print_json(answer)
    else:
        render(answer)
    return 0


def begin(
    where: Settings, there: Scene, prepared: Prepared, mechanism: str | None, rate_bytes: int, order: str = ""
) -> dict[str, Any]:
    """Make one tree; what `--json` says of it. `order` is that of several which were asked for together."""
    from engine.recovery.acts import who_acts
    from engine.recovery.on_demand import making
    from engine.recovery.on_demand.history import touched

    touches = touched(there.journal, prepared, prepared.plan.target, HOST)
    gone_on: list[int | None] = []
    terms = making.Terms(
        *(where.home, where.journal, where.master_key, who_acts(), mechanism, rate_bytes),
        touched=touches, go_on=lambda recipe: gone_on.append(_history_goes_on(where, recipe)), order=order,
    )  # fmt: skip
    begun = making.make(there.session, prepared, there.address, terms)
    return {**told(begun), "in_place": touches.own, "epoch": gone_on[0] if gone_on else None}


def _history_goes_on(where: Settings, recipe: Recipe) -> int | None:
    """The source's epoch that begins with the tree; None, and it is said, when its node can't open one."""
    asked = {"id": recipe.id, "position": recipe.position, "who": recipe.by, "dir": recipe.dir}
    try:
        return int(post(where, f"/v1/streams/{recipe.stream}/recoveries", asked)["epoch"])
    except BcsError as error:
        say(f"history can't go on from {recipe.position}, the tree is taken for new: {error.message}", BUSY)
        return None


def told(begun: Any) -> dict[str, Any]:
    """What `--json` says of a tree that has begun to fill."""
    recipe = begun.recipe
    return {
        "id": recipe.id,
        "dir": recipe.dir,
        "mechanism": recipe.mechanism,
        "mechanism_why": begun.why,
        "files": recipe.files,
        "bytes": recipe.bytes,
        "seconds": round(begun.seconds, 3),
        "lasting": recipe.lasting,
        "shortfalls": list(begun.shortfalls),
    }


def planned(answer: Mapping[str, Any], as_json: bool) -> int:
    if as_json:
        print_json({**answer, "dry_run": True})
    else:
        host = f"{answer['host']}:" if answer.get("host") else ""
        render_plan(answer, answer["address"], host + answer["plan"]["target"])
        why = f" ({answer['mechanism_why']})" if answer.get("mechanism_why") else ""
        tell(f"on demand by  {answer['mechanism']}{why}")
    return 0


def render(answer: Mapping[str, Any]) -> None:
    unreadable(answer["plan"]["unreadable"])
    for text in answer["shortfalls"][:20]:
        say(printable(text), BUSY)
    if not answer["lasting"]:
        say("this place does not keep through a power cut what was filled: the recovery would have to begin anew", BUSY)
    tell(
        f"{printable(answer['dir'])} can be used: {counted(answer['files'], 'file')}, {format_size(answer['bytes'])}"
        f" {as_of(point_of(answer))}, after {format_about(round(answer['seconds'] * 1e6))}",
        GOOD,
    )
    why = f" ({answer['mechanism_why']})" if answer.get("mechanism_why") else ""
    say(
        f"it is filled by {answer['mechanism']}{why}; `bcsctl recover list` shows how far, "
        f"`bcsctl recover finish {answer['id']}` waits for the rest"
    )


def rate_of(text: str) -> int:
    """Bytes a second of `100MiB`; 0 of `unlimited`."""
    return 0 if text == UNLIMITED else parse_size(text)


def _recorded(where: Settings, there: Scene, prepared: Any, answer: Mapping[str, Any]) -> bool:
    plan = {name: answer["plan"][name] for name in ("files", "bytes")}
    more = {"plan": plan, "on_demand": answer["mechanism"], "id": answer["id"]}
    return record(where, there, prepared, BEGUN, more)
