"""bcsctl restore --on-demand of several sources to hosts of a site: one tree for each, under one order, some at once.

Each has to have a point before anything is made. Then a tree that can't be made costs its own source alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bcsctl.entries import damage_is_a_difference
from bcsctl.node_client import told_how_to_start
from bcsctl.open_gaps import say_unseen
from bcsctl.output import BUSY, print_json, say, tell
from bcsctl.restoring import remote
from bcsctl.restoring.afar import lacking, wanted_of
from bcsctl.restoring.here import Asked
from bcsctl.restoring.moments import of_all
from bcsctl.restoring.on_demand import rate_of
from bcsctl.restoring.on_demand_afar import UNSEEN, told_of, until_used
from bcsctl.restoring.on_demand_several import ORDER_BYTES, render_all, render_one
from bcsctl.restoring.view import render_plans
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.env.endpoint import request_json
from engine.env.randomness import token_hex
from engine.model.errors import BcsError, NothingThere

AT_ONCE = 4


def several_afar(where: Settings, asked: Asked, host: str, folder: str, mechanism: str | None, rate: str | None) -> int:
    """Have the trees made, and return when all that can be made can be used. 1 if one could not be."""
    from engine.recovery.told import plans_in_all

    order = token_hex(ORDER_BYTES)
    how: dict[str, Any] = {"mechanism": mechanism or "", "order": order}
    how |= {} if rate is None else {"rate_bytes": rate_of(rate)}
    began = SYSTEM.monotonic()
    with damage_is_a_difference(), told_how_to_start(where):
        wanted = [replace(one, how={"on_demand": how}) for one in wanted_of(where, asked, host, folder)]
        plans = _planned(where, asked, wanted)
        answer: dict[str, Any] = {"address": asked.name, "dir": folder, "host": host}
        answer["plan"] = plans_in_all([row["plan"] for row in plans.values()])
        if asked.dry_run:
            return _shown(
                {**answer, "sources": list(plans.values()), "mechanism": mechanism or "what a host has"}, asked
            )
        rows: list[dict[str, Any]] = []
        with _goes_on(order):
            for row in _made(where, [one for one in wanted if one.address in plans], plans):
                rows.append(row)
                if not asked.as_json:
                    render_one({**row, "plan": {**row["plan"], "target": f"{row['host']}:{row['plan']['target']}"}})
    made = [row for row in rows if "error" not in row]
    summed = {name: sum(row[name] for row in made) for name in ("files", "bytes")}
    answer |= {"order": order, "sources": rows, **summed, "seconds": round(SYSTEM.monotonic() - began, 3)}
    answer |= {"failed": len(rows) - len(made), "recorded": True}
    if asked.as_json:
        print_json(answer)
    else:
        render_all({**answer, "dir": f"{host}:{folder}"})
    return 1 if answer["failed"] else 0


def _planned(where: Settings, asked: Asked, wanted: Sequence[remote.Asked]) -> dict[str, dict[str, Any]]:
    """What is about to be made, by address. What is left out is said."""
    from engine.recovery.errand import nothing_of

    plans: dict[str, dict[str, Any]] = {}
    missing: dict[str, NothingThere] = {}
    for one in wanted:
        try:
            told = remote.planned(where.endpoint, one)
        except NothingThere as error:
            missing[one.address] = error
            continue
        say_unseen(one.address, told)
        plans[one.address] = {"address": one.address, **told, "host": one.host}
    if missing and not (plans and (asked.partial or asked.path is not None)):
        refusal = nothing_of(missing, len(wanted))
        raise of_all(refusal, missing, len(wanted), lambda at: lacking(where, wanted, at))
    for address, why in missing.items():
        say(f"{address} is left out: {why.message}", BUSY)
    for row in plans.values():
        row.pop("dry_run", None)
    return plans


def _made(
    where: Settings, wanted: Sequence[remote.Asked], plans: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Each tree once it can be used, or why it can't be made. Some are made at once: for so many at a time the node
    keeps what it sends."""
    begun: deque[dict[str, Any]] = deque()
    for one in wanted:
        if len(begun) >= AT_ONCE:
            yield _used(where, begun.popleft())
        begun.append({**plans[one.address], **_opened(where, one)})
    while begun:
        yield _used(where, begun.popleft())


def _opened(where: Settings, one: remote.Asked) -> dict[str, Any]:
    """Order one tree; `error` where that can't be."""
    try:
        told = request_json(where.endpoint, "POST", "/v1/restores", one.body(), timeout_seconds=300)
    except BcsError as error:
        return {"error": error.as_json()["error"]}
    told.pop("version", None)
    return told


def _used(where: Settings, row: Mapping[str, Any]) -> dict[str, Any]:
    """One of them once it can be used."""
    if "error" in row:
        return dict(row)
    try:
        return {**row, **told_of(until_used(where, row["id"], row["host"]), row)}
    except BcsError as error:
        return {**row, "error": error.as_json()["error"]}


@contextmanager
def _goes_on(order: str) -> Iterator[None]:
    """Within it who breaks off is told what becomes of the trees that were ordered already."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"broken off; what was ordered goes on: `bcsctl recover cancel {order}` removes all of it", BUSY)
        raise


def _shown(answer: Mapping[str, Any], asked: Asked) -> int:
    if asked.as_json:
        print_json({**answer, "dry_run": True})
    else:
        render_plans(answer, f"{answer['host']}:{answer['dir']}")
        tell(f"on demand by  {answer['mechanism']} ({UNSEEN})")
    return 0
