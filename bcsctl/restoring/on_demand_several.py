"""bcsctl restore --on-demand of several sources: one recovery for each, under one order.

All of it is planned, and refused, before anything is made. Then a tree that can't be made costs its own source alone.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcsctl.entries import as_of, damage_is_a_difference
from bcsctl.opening import Scene, scenes
from bcsctl.output import BAD, BUSY, GOOD, print_json, printable, say, tell
from bcsctl.restoring.acts import BEGUN, ENDED, record
from bcsctl.restoring.here import Asked, prepared_parts
from bcsctl.restoring.on_demand import begin, rate_of
from bcsctl.restoring.view import point_of, render_plans, unreadable
from bcsctl.settings import Settings
from engine.model.counts import counted
from engine.model.errors import BcsError, Failed, Refused, UsageError
from engine.model.times import format_about, format_size

if TYPE_CHECKING:
    from engine.query.session import Session
    from engine.recovery.restoring import Prepared

ORDER_BYTES = 6


def several(where: Settings, asked: Asked, folder: str, mechanism: str | None, rate: str | None) -> int:
    """Make the trees, and return when all that can be made can be used. 1 if one could not be."""
    from engine.env.randomness import token_hex
    from engine.recovery.on_demand import making
    from engine.recovery.restoring import data_bytes
    from engine.recovery.told import plan_json, plans_in_all, point_json

    if where.site is not None:
        raise UsageError(
            "on demand is for the machine on which the journal is", hint="run it there, or leave out --on-demand"
        )
    rate_bytes = making.RATE_BYTES if rate is None else rate_of(rate)
    target = Path(folder).expanduser().absolute()
    with damage_is_a_difference(), scenes(where, asked.scope) as found:
        ready = _ready(where, found, asked, target, mechanism)
        rows: list[dict[str, Any]] = [
            {"address": address, **point_json(one.point), "plan": plan_json(one, one.plan.target, data)}
            for address, one in ready
            for data in [data_bytes(found[0].session, one) if asked.dry_run else None]
        ]
        answer: dict[str, Any] = {"address": asked.name, "dir": os.fspath(target)}
        answer["plan"] = plans_in_all([row["plan"] for row in rows])
        if asked.dry_run:
            ways = [making.chosen(found[0].session, one, mechanism) for _, one in ready]
            for row, (name, why) in zip(rows, ways, strict=True):
                row |= {"mechanism": name, "mechanism_why": why}
            by = " and ".join(dict.fromkeys(name for name, _ in ways))
            return _planned({**answer, "sources": rows, "mechanism": by}, asked)
        order = token_hex(ORDER_BYTES)
        scene_of = {there.address: there for there in found}
        for row, (address, prepared) in zip(rows, ready, strict=True):
            with _goes_on(order):
                row |= _one(where, scene_of[address], prepared, mechanism, rate_bytes, order)
            if not asked.as_json:
                render_one(row)
    answer |= {"order": order, "sources": rows, **_summed(rows)}
    if asked.as_json:
        print_json(answer)
    else:
        render_all(answer)
    return 1 if answer["failed"] else 0


def _ready(
    where: Settings, found: Sequence[Scene], asked: Asked, target: Path, mechanism: str | None
) -> list[tuple[str, Prepared]]:
    """All that is about to be made. Refused, and nothing was touched, when one of the trees can't be, or there is no
    room for all of them."""
    from engine.fill.life.recoveries import clear, refuse_filling
    from engine.recovery.on_demand import making
    from engine.recovery.own_history import refuse_into_protected
    from engine.tree.target import check_target

    prepared = prepared_parts(found, asked, os.fsencode(target))
    if not asked.into_protected:
        refuse_into_protected(found[0].journal, [one for _, one in prepared], asked.path, os.fsencode(target))
    refuse_filling(where.home, os.path.realpath(target))
    for _, one in prepared:
        place = Path(os.fsdecode(one.plan.target))
        if os.path.realpath(place) != os.path.join(os.path.realpath(target), place.relative_to(target)):
            raise Refused(f"a link leads from {place} elsewhere", hint="name another directory; nothing was touched")
        if not asked.dry_run:
            clear(where.home, os.path.realpath(place))
        refuse_filling(where.home, os.path.realpath(place))
        check_target(place)
        making.mechanism_for(place, mechanism)
    _refuse_without_room(found[0].session, [one for _, one in prepared], target)
    return prepared


def _refuse_without_room(session: Session, prepared: Sequence[Prepared], target: Path) -> None:
    """Each tree has room for all of it set aside at once; holes are looked for where they decide."""
    from engine.recovery.restoring import pieces_of

    free = _free_bytes(target)
    if sum(one.plan.bytes for one in prepared) <= free:
        return
    of_files = (pieces for one in prepared for pieces in pieces_of(session, one).values())
    needed = sum(piece.length for pieces in of_files for piece in pieces if piece.data is not None)
    if needed > free:
        raise Refused(
            f"{target} has room for {format_size(free)}, and they take {format_size(needed)}",
            hint="name a directory on a larger file system; nothing was touched",
            details={"needed_bytes": needed, "free_bytes": free},
        )


def _free_bytes(target: Path) -> int:
    while not target.exists():
        target = target.parent
    found = os.statvfs(target)
    return found.f_bavail * found.f_frsize


@contextmanager
def _goes_on(order: str) -> Iterator[None]:
    """Within it who breaks off is told what becomes of the trees that there are already."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"broken off; what was made goes on filling: `bcsctl recover list` shows the order {order}", BUSY)
        raise


def _one(
    where: Settings, there: Scene, prepared: Prepared, mechanism: str | None, rate_bytes: int, order: str
) -> dict[str, Any]:
    """Make one of the trees; what `--json` says of it, `error` where it could not be made."""
    try:
        made = begin(where, there, prepared, mechanism, rate_bytes, order)
    except (BcsError, OSError) as error:
        told = error if isinstance(error, BcsError) else Failed(f"it could not be made: {error}")
        more = {"order": order, "verified": False, "error": told.message, "code": told.code}
        return {"error": told.as_json()["error"], "recorded": record(where, there, prepared, ENDED, more)}
    plan = {"files": made["files"], "bytes": made["bytes"]}
    more = {"order": order, "plan": plan, "on_demand": made["mechanism"], "id": made["id"]}
    return {**made, "recorded": record(where, there, prepared, BEGUN, more)}


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    made = [row for row in rows if "error" not in row]
    return {
        "files": sum(row["files"] for row in made),
        "bytes": sum(row["bytes"] for row in made),
        "seconds": round(sum(row["seconds"] for row in made), 3),
        "failed": len(rows) - len(made),
        "recorded": all(row["recorded"] for row in rows),
    }


def _planned(answer: Mapping[str, Any], asked: Asked) -> int:
    if asked.as_json:
        print_json({**answer, "dry_run": True})
    else:
        render_plans(answer, answer["dir"])
        tell(f"on demand by  {answer['mechanism']}")
        for row in answer["sources"]:
            if row["mechanism_why"]:
                say(f"{row['address']} by {row['mechanism']}: {row['mechanism_why']}")
    return 0


def render_one(row: Mapping[str, Any]) -> None:
    """One tree, as soon as it can be used."""
    place = printable(row["plan"]["target"])
    if "error" in row:
        to = printable(shlex.quote(row["plan"]["target"]))
        again = f"`bcsctl restore {row['address']} --at point:{row['point']} --on-demand --to {to}` tries it again"
        say(f"{row['address']} could not be made: {row['error']['message']}; {again}", BAD)
        return
    unreadable(row["plan"]["unreadable"])
    for text in row["shortfalls"][:20]:
        say(printable(text), BUSY)
    if not row["lasting"]:
        say(f"{place} does not keep through a power cut what was filled: it would have to begin anew", BUSY)
    size = f"{counted(row['files'], 'file')}, {format_size(row['bytes'])}"
    took = format_about(round(row["seconds"] * 1e6))
    why = f", by {row['mechanism']} ({row['mechanism_why']})" if row.get("mechanism_why") else ""
    say(f"{row['address']} can be used in {place}: {size} {as_of(point_of(row))}, after {took}{why}")


def render_all(answer: Mapping[str, Any]) -> None:
    count, failed = len(answer["sources"]), answer["failed"]
    text = f"{printable(answer['dir'])}: {counted(count - failed, 'source')} can be used"
    not_made = f", {failed} could NOT be made" if failed else ""
    size = f"{counted(answer['files'], 'file')}, {format_size(answer['bytes'])}"
    tell(f"{text}{not_made}: {size}, after {format_about(round(answer['seconds'] * 1e6))}", BAD if failed else GOOD)
    finish = f"`bcsctl recover finish {answer['order']}` waits for the rest of all"
    say(f"their order is {answer['order']}: `bcsctl recover list` shows how far each is, {finish}")
