"""bcsctl restore --in-place: what differs is brought back where it stands, between two marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bcsctl.entries import as_of, damage_is_a_difference, point_json
from bcsctl.node_client import told_how_to_start
from bcsctl.opening import Named, Scene, scene
from bcsctl.output import BAD, BUSY, DIM, GOOD, print_json, printable, progress, say, tell
from bcsctl.restoring.acts import BEGUN, ENDED, record_of
from bcsctl.restoring.current import STATUS_HINT, refuse_unless_current
from bcsctl.restoring.here import recording
from bcsctl.restoring.view import point_of
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.env.randomness import token_hex
from engine.model.counts import counted
from engine.model.errors import BcsError, Failed, NotAuthorised, NothingThere, Refused, UsageError
from engine.model.ids import parse_address
from engine.model.times import format_about, format_size
from engine.tree.paths import failures_json

if TYPE_CHECKING:
    from bcsctl.restoring.remote import Asked
    from engine.env.endpoint import Endpoint
    from engine.model.points import Point
    from engine.recovery.in_place.carry_out import Outcome
    from engine.recovery.in_place.prepare import Prepared

MARK_SECONDS = 60.0
HOST = "localhost"


def in_place(
    where: Settings, wanted: Named, at: str, *, exact: bool, dry_run: bool, verify: bool, as_json: bool
) -> int:
    """Bring back where it came from: here by ourselves, on any other host by its agent."""
    if dry_run:
        _show({**plan_of(where, wanted, at, exact), "dry_run": True}, as_json, render_plan)
        return 0
    answer, code = done(where, wanted, at, new_label(), exact=exact, verify=verify, as_json=as_json)
    _show(answer, as_json, render)
    return code


def plan_of(where: Settings, wanted: Named, at: str, exact: bool) -> dict[str, Any]:
    """What it would change, from the newest point on."""
    if _is_afar(where, wanted):
        refuse_unless_current(where, {wanted.address})
        return _planned_afar(where, _asked_of_its_host(wanted, at, "latest", exact, False))
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        closed(where)
        refuse_unless_current(where, {wanted.address, str(there.stream.address)})
        return _planned(there, wanted, _prepared(there, wanted, there.point("latest"), there.point(at), exact), exact)


def done(
    where: Settings,
    wanted: Named,
    at: str,
    label: str,
    *,
    exact: bool,
    verify: bool,
    as_json: bool,
    marked: bool = False,
) -> tuple[dict[str, Any], int]:
    """(what --json says of it, the exit code). The mark `label`, to which it is undone, is set first unless it is
    `marked`."""
    if _is_afar(where, wanted):
        return _on_its_host(where, wanted, at, label, exact=exact, verify=verify, as_json=as_json, marked=marked)
    with damage_is_a_difference(), scene(where, wanted.address) as there:
        from engine.recovery.in_place.prepare import check

        closed(where)
        refuse_unless_current(where, {wanted.address, str(there.stream.address)})
        point = there.point(at)
        now = _mark_of(there, label) if marked else _marked(where, there, label)
        prepared = _prepared(there, wanted, now, point, exact)
        answer = _planned(there, wanted, prepared, exact)
        check(prepared)
        outcome, recorded = _carried_out(where, there, prepared, label, verify, as_json)
        answer |= {**_outcome_json(outcome), "undo": f"mark:{label}", "recorded": recorded}
        return answer, 0 if outcome.verified else 6 if outcome.restored.damaged or outcome.differences else 1


def _is_afar(where: Settings, wanted: Named) -> bool:
    return where.site is not None or parse_address(wanted.address).host != HOST


def _prepared(there: Scene, wanted: Named, now: Point, point: Point, exact: bool) -> Prepared:
    from engine.query.applied import paths_of
    from engine.recovery.in_place.prepare import prepare

    own = paths_of(there.journal, there.stream.id, point.at)
    paths = [there.path(point, wanted.path)] if wanted.path is not None else list(own)
    return prepare(there.session, there.stream, now, point, paths, exact)


def _planned(there: Scene, wanted: Named, prepared: Prepared, exact: bool) -> dict[str, Any]:
    from engine.recovery.in_place.told import in_place_json

    return {
        "address": wanted.address,
        **point_json(prepared.point),
        "plan": in_place_json(prepared),
        "exact": exact,
    }


def _asked_of_its_host(wanted: Named, at: str, before: str, exact: bool, verify: bool) -> Asked:
    from bcsctl.restoring import remote as restore_remote
    from engine.recovery.acts import who_acts

    host = parse_address(wanted.address).host
    return restore_remote.Asked(
        *(wanted.address, wanted.path, at, host, b"/", verify, who_acts()), before=before, exact=exact
    )


def _planned_afar(where: Settings, asked: Asked) -> dict[str, Any]:
    from bcsctl.restoring import remote as restore_remote

    with damage_is_a_difference(), told_how_to_start(where):
        told = restore_remote.planned(where.endpoint, replace(asked, before="latest"))
    return {"address": asked.address, **told, "exact": asked.exact}


def _on_its_host(
    where: Settings, wanted: Named, at: str, label: str, *, exact: bool, verify: bool, as_json: bool, marked: bool
) -> tuple[dict[str, Any], int]:
    """The node plans and sends, the agent of the source's host carries out."""
    from bcsctl.restoring import remote as restore_remote

    refuse_unless_current(where, {wanted.address})
    asked = _asked_of_its_host(wanted, at, f"mark:{label}", exact, verify)
    _planned_afar(where, asked)  # what can't be is said before a mark is set
    with damage_is_a_difference(), told_how_to_start(where):
        if not marked:
            set_mark(where.endpoint, parse_address(wanted.address).group, {wanted.address}, label)
        with _way_back_said(wanted.address, label):
            told = {**restore_remote.carried_out(where.endpoint, asked, as_json), "exact": exact}
    damaged = told.pop("damaged")
    return told, 0 if told["verified"] else 6 if damaged else 1


@contextmanager
def _way_back_said(address: str, label: str) -> Iterator[None]:
    """Within it a restore that does not come to its end, and may have changed something, is told how to go back."""
    try:
        yield
    except (Refused, UsageError, NothingThere):
        raise  # nothing was touched
    except (BcsError, KeyboardInterrupt):
        say(f"not finished: `bcsctl restore {address} --at mark:{label} --in-place --exact` goes back", BAD)
        raise


def new_label() -> str:
    return f"before-restore-{token_hex(4)}"


def _marked(where: Settings, there: Scene, label: str) -> Point:
    """The point of the mark that the way back leads to. Failed when the agent does not set it."""
    address = there.stream.address
    set_mark(where.endpoint, address.group, {str(address), there.address}, label)
    return _mark_of(there, label)


def _mark_of(there: Scene, label: str) -> Point:
    there.session.refresh()
    return there.point(f"mark:{label}")


def set_mark(endpoint: Endpoint, group: str, addresses: set[str], label: str) -> None:
    from engine.reconcile.marking import mark

    try:
        marks = mark(endpoint, group, label, SYSTEM, MARK_SECONDS, lambda done, count: None)
    except NotAuthorised:
        raise
    except BcsError as error:
        raise Failed(
            f"no mark could be set before the restore: {error.message}",
            hint="start node and agent with `bcsctl apply`, or restore to an empty directory with --to",
        ) from None
    mine = [one for one in marks if one["address"] in addresses]
    if not any(one["done"] for one in mine):
        if mine and mine[0]["reason"]:
            raise Refused(f"no mark could be set before the restore: {mine[0]['reason']}", hint=STATUS_HINT)
        raise Failed(
            f"the agent has not set a mark within {MARK_SECONDS:g} s, so there would be no way back",
            hint="see `bcsctl status`; a restore to an empty directory with --to needs no agent",
        )


def _carried_out(
    where: Settings, there: Scene, prepared: Prepared, label: str, verify: bool, as_json: bool
) -> tuple[Outcome, bool]:
    from engine.env.processes import is_root
    from engine.recovery.acts import who_acts
    from engine.recovery.in_place.carry_out import Outcome, carry_out
    from engine.recovery.in_place.writing import writing

    told = {"in_place": True, "undo": f"mark:{label}", **point_json(prepared.point), "plan": _counts(prepared)}
    of = {"address": str(there.stream.address), "stream": there.stream.id}
    outcome = Outcome()

    def broken_off(why: str, code: str) -> None:
        record_of(where, there, ENDED, {**told, **_counted(outcome), "verified": False, "error": why, "code": code})
        say(f"not finished: `bcsctl restore {there.address} --at mark:{label} --in-place --exact` goes back", BAD)

    with writing(where.home, label, who_acts(), {**of, **told}):
        begun = record_of(where, there, BEGUN, told)
        with progress(as_json) as drawn, recording(broken_off):
            task = drawn.add_task("restoring", total=prepared.bytes or None)
            carry_out(
                *(there.journal, prepared, outcome),
                owners=is_root(),
                progress=lambda files, count: drawn.update(task, advance=count),
                verify=verify,
            )
        return outcome, record_of(where, there, ENDED, {**told, **_counted(outcome)}) and begun


def _counted(outcome: Outcome) -> dict[str, Any]:
    """What the audit keeps of what was done."""
    counts = {name: value for name, value in _outcome_json(outcome).items() if name not in ("failures", "shortfalls")}
    return {**counts, "failures": len(outcome.restored.failures) + len(outcome.differences)}


def closed(where: Settings) -> None:
    """Restores in place that were killed while they wrote are recorded as that, and said."""
    from engine.recovery.in_place.writing import close_interrupted

    try:
        for told in close_interrupted(where.home):
            say(f"the restore in place of {told['address']} was killed; `--at {told['undo']}` goes back", BAD)
    except (OSError, BcsError) as error:
        say(f"a restore that was killed could not be recorded: {error}", BAD)


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


def _counts(prepared: Prepared) -> dict[str, int]:
    """What the audit keeps of a plan."""
    from engine.recovery.in_place.told import COUNTED, in_place_json

    told = in_place_json(prepared)
    return {name: told[name] for name in COUNTED}


def _show(answer: dict[str, Any], as_json: bool, render: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        print_json(answer)
    else:
        render(answer)


def _nothing(answer: Mapping[str, Any]) -> bool:
    return not any(answer["plan"][kind] for kind in ("make", "rewrite", "attributes", "remove"))


def render_plan(answer: dict[str, Any]) -> None:
    plan, point = answer["plan"], point_of(answer)
    if _nothing(answer):
        tell(f"nothing differs {as_of(point)}", GOOD)
        return
    tell(f"in place {as_of(point)}")
    counts = {"make": plan["make"], "change": plan["rewrite"] + plan["attributes"], "remove": plan["remove"]}
    for kind, sign, colour in (("make", "+", GOOD), ("change", "~", BUSY), ("remove", "-", BAD)):
        listed = plan["changes"][kind]
        for row in listed:
            tell(f"{sign} {printable(row['path'])}", colour)
        if counts[kind] > len(listed):
            tell(f"{sign} and {counts[kind] - len(listed):,} more", colour)
    about = format_about(round(plan["seconds_estimated"] * 1e6))
    tell(f"{format_size(plan['bytes'])} would be written, in about {about}")
    if not answer["exact"]:
        tell("what did not exist then stays: --exact removes it")


def render(answer: dict[str, Any]) -> None:
    for row in answer["failures"]:
        say(f"{printable(row['path'])}: {row['message']}", BAD)
    for text in answer["shortfalls"]:
        say(printable(text), BUSY)
    point = point_of(answer)
    if _nothing(answer):
        tell(f"nothing differs {as_of(point)}: nothing was changed", GOOD)
        return
    state = "verified" if answer["verified"] else "NOT VERIFIED"
    done = f"Restored {counted(answer['names'], 'path')} in place with {format_size(answer['bytes'])}"
    tell(
        f"{done}, removed {answer['removed']:,}, {as_of(point)}, {state}",
        GOOD if answer["verified"] else BAD,
    )
    say(f"undo: bcsctl restore {answer['address']} --at {answer['undo']} --in-place --exact", DIM)
