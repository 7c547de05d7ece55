"""bcsctl restore --in-place: what differs is brought back where it stands, between two marks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bcsctl.entries import as_of, damage_is_a_difference, point_json
from bcsctl.opening import Named, Scene, scene
from bcsctl.output import BAD, BUSY, DIM, GOOD, print_json, printable, progress, say, tell
from bcsctl.restore_acts import BEGUN, ENDED, record_of
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.env.randomness import token_hex
from engine.model.errors import BcsError, Failed, UsageError
from engine.model.times import format_size
from engine.tree.paths import failures_json

if TYPE_CHECKING:
    from engine.model.points import Point
    from engine.recovery.in_place.carry_out import Outcome
    from engine.recovery.in_place.prepare import Prepared

MARK_SECONDS = 60.0
LISTED = 20
HOST = "localhost"


def in_place(
    where: Settings, wanted: Named, at: str, *, exact: bool, dry_run: bool, verify: bool, as_json: bool
) -> int:
    """Bring back where it came from, on this machine."""
    if where.site is not None:
        raise UsageError("restores in place are this machine's own for now", hint="write --to HOST:DIR")
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        if there.stream.address.host != HOST:
            raise UsageError(
                f"{there.stream.address.host} is another host: in place is for this machine for now",
                hint=f"write --to {there.stream.address.host}:DIR",
            )
        from engine.query.applied import paths_of
        from engine.recovery.in_place.prepare import check, prepare

        point = there.point(at)
        label = f"before-restore-{token_hex(4)}"
        now = there.point("latest") if dry_run else _marked(where, there, label)
        own = paths_of(there.journal, there.stream.id, point.at)
        paths = [wanted.path] if wanted.path is not None else list(own)
        prepared = prepare(there.session, there.stream, now, point, paths, exact)
        answer = {"address": wanted.address, **point_json(point), "plan": _plan_json(prepared), "exact": exact}
        if dry_run:
            _show({**answer, "dry_run": True}, as_json, lambda: _render_plan(prepared, exact))
            return 0
        check(prepared)
        outcome, recorded = _carried_out(where, there, prepared, label, verify, as_json)
        answer |= {**_outcome_json(outcome), "undo": f"mark:{label}", "recorded": recorded}
        _show(answer, as_json, lambda: _render(answer, prepared, outcome))
        return 0 if outcome.verified else 6 if outcome.restored.damaged or outcome.differences else 1


def _marked(where: Settings, there: Scene, label: str) -> Point:
    """Set the mark that the way back leads to. Failed when the agent does not set it."""
    from engine.reconcile.marking import mark

    address = there.stream.address
    try:
        marks = mark(where.endpoint, address.group, label, SYSTEM, MARK_SECONDS, lambda done, count: None)
    except BcsError as error:
        raise Failed(
            f"no mark could be set before the restore: {error.message}",
            hint="start node and agent with `bcsctl apply`, or restore to an empty directory with --to",
        ) from None
    if not any(one["done"] for one in marks if one["address"] in (str(address), there.address)):
        raise Failed(
            f"the agent has not set a mark within {MARK_SECONDS:g} s, so there would be no way back",
            hint="see `bcsctl status`; a restore to an empty directory with --to needs no agent",
        )
    there.session.refresh()
    return there.point(f"mark:{label}")


def _carried_out(
    where: Settings, there: Scene, prepared: Prepared, label: str, verify: bool, as_json: bool
) -> tuple[Outcome, bool]:
    from engine.env.processes import is_root
    from engine.recovery.in_place.carry_out import carry_out

    told = {"in_place": True, "undo": f"mark:{label}", **point_json(prepared.point), "plan": _plan_json(prepared)}
    begun = record_of(where, there, BEGUN, told)
    with progress(as_json) as drawn:
        task = drawn.add_task("restoring", total=prepared.bytes or None)
        outcome = carry_out(
            there.journal,
            prepared,
            owners=is_root(),
            progress=lambda files, count: drawn.update(task, advance=count),
            verify=verify,
        )
    counts = {name: value for name, value in _outcome_json(outcome).items() if name not in ("failures", "shortfalls")}
    told |= {**counts, "failures": len(outcome.restored.failures) + len(outcome.differences)}
    return outcome, record_of(where, there, ENDED, told) and begun


def _plan_json(prepared: Prepared) -> dict[str, int]:
    plan = prepared.plan
    return {
        "make": len(plan.made) + len(plan.linked),
        "rewrite": len(plan.rewritten),
        "attributes": len(plan.changed),
        "remove": len(plan.removed) + len(plan.cleared),
        "bytes": prepared.bytes,
    }


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    done = outcome.restored
    return {
        "files": done.files,
        "names": done.names,
        "bytes": done.bytes_written,
        "removed": outcome.removed,
        "verified": outcome.verified,
        "failures": failures_json(done.failures, outcome.differences),
        "shortfalls": list(done.shortfalls),
    }


def _show(answer: dict[str, Any], as_json: bool, render: Callable[[], None]) -> None:
    if as_json:
        print_json(answer)
    else:
        render()


def _render_plan(prepared: Prepared, exact: bool) -> None:
    plan = prepared.plan
    if plan.nothing:
        tell(f"nothing differs {as_of(prepared.point)}", GOOD)
        return
    tell(f"in place {as_of(prepared.point)}")
    for turns, sign, colour in (
        ((*plan.made, *(turn for turn, _ in plan.linked)), "+", GOOD),
        ((*plan.rewritten, *plan.changed), "~", BUSY),
        ((*plan.cleared, *plan.removed), "-", BAD),
    ):
        for turn in turns[:LISTED]:
            tell(f"{sign} {printable(os.fsdecode(turn.path))}", colour)
        if len(turns) > LISTED:
            tell(f"{sign} and {len(turns) - LISTED:,} more", colour)
    tell(f"{format_size(prepared.bytes)} would be written")
    if not exact:
        tell("what did not exist then stays: --exact removes it")


def _render(answer: dict[str, Any], prepared: Prepared, outcome: Outcome) -> None:
    for row in answer["failures"]:
        say(f"{printable(row['path'])}: {row['message']}", BAD)
    for text in answer["shortfalls"]:
        say(printable(text), BUSY)
    if prepared.plan.nothing:
        tell(f"nothing differs {as_of(prepared.point)}: nothing was changed", GOOD)
        return
    state = "verified" if outcome.verified else "NOT VERIFIED"
    done = f"Restored {answer['names']:,} paths in place with {format_size(answer['bytes'])}"
    tell(
        f"{done}, removed {answer['removed']:,}, {as_of(prepared.point)}, {state}",
        GOOD if outcome.verified else BAD,
    )
    say(f"undo: bcsctl restore {answer['address']} --at {answer['undo']} --in-place --exact", DIM)
