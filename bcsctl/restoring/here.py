"""bcsctl restore --to DIR on this machine: one source or several, into an empty directory or onto what stands there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcsctl.entries import damage_is_a_difference
from bcsctl.opening import Scene, master_key, scenes
from bcsctl.output import BUSY, local_time, print_json, printable, progress, say
from bcsctl.restoring.acts import BEGUN, ENDED, record
from bcsctl.restoring.moments import of_all
from bcsctl.restoring.owners import Ownership, ownership
from bcsctl.restoring.view import render, render_plan, render_plans, render_several
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.model.errors import BcsError, Failed, NothingThere, UsageError
from engine.plan.scope import Scope

if TYPE_CHECKING:
    from engine.query.session import Session
    from engine.recovery.errand import Part, Terms, Wanted
    from engine.recovery.restoring import Outcome, Prepared
    from engine.recovery.unfinished import Begun


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants back: `path` of each source of a scope, as of `at`, and how. What is not `guarded` lands
    where nobody has to look whether something is protected."""

    scope: Scope
    path: bytes | None
    at: str
    dry_run: bool = False
    verify: bool = False
    overwrite: bool = False
    aside: bool = False
    partial: bool = False
    owners: str = ""
    into_protected: bool = False
    guarded: bool = True
    as_json: bool = False

    @property
    def name(self) -> str:
        """What it is called in answers."""
        return str(self.scope)

    def again(self) -> dict[str, Any]:
        """What makes two commands the same restore."""
        return {
            "scope": str(self.scope),
            "path": None if self.path is None else os.fsdecode(self.path),
            "at": self.at,
            "overwrite": self.overwrite,
            "aside": self.aside,
            "partial": self.partial,
            "owners": self.owners,
        }


def here(where: Settings, asked: Asked, folder: str) -> int:
    """Restore to a directory of this machine."""
    from engine.recovery import unfinished

    target = Path(folder).expanduser().absolute()
    with damage_is_a_difference(), scenes(where, asked.scope) as found:
        if asked.dry_run:
            parts = ready(found, asked, target, terms_of(where, asked, target))
            return shown_plan(asked, found[0].session, parts, str(target))
        with unfinished.alone(where.home, target):
            terms = terms_of(where, asked, target)
            with goes_on(), made_or_forgotten(where, target):
                answer, outcomes = bring(where, found, asked, target, terms)
            if all(outcome.verified for outcome in outcomes):
                unfinished.end(where.home, target)
    shown(asked, answer)
    return code_of(outcomes)


@contextmanager
def goes_on() -> Iterator[None]:
    """Who presses Ctrl-C meanwhile is told that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        say("broken off; what was written stays, and the same command goes on", BUSY)
        raise


@contextmanager
def made_or_forgotten(where: Settings, target: Path) -> Iterator[None]:
    """Within it a target that can't be made is said to be that, and nothing is left to go on with."""
    from engine.recovery import unfinished

    try:
        yield
    except OSError as error:
        if os.path.lexists(target):
            raise
        unfinished.end(where.home, target)
        raise Failed(
            f"{printable(str(target))} can't be made: {os.strerror(error.errno or 0)}",
            hint="name a directory on a file system that can be written to",
        ) from None


@contextmanager
def recording(broken_off: Callable[[str, str], None]) -> Iterator[None]:
    """What ends a restore before its time is recorded too: why, and the error's code."""
    try:
        yield
    except KeyboardInterrupt:
        broken_off("broken off", "cancelled")
        raise
    except BcsError as error:
        broken_off(error.message, error.code)
        raise
    except OSError as error:
        broken_off(os.strerror(error.errno or 0), Failed.code)
        raise


def code_of(outcomes: Sequence[Outcome]) -> int:
    """The exit code of restores that came to their end."""
    if all(outcome.verified for outcome in outcomes):
        return 0
    return 6 if any(outcome.damaged for outcome in outcomes) else 1


def bring(
    where: Settings, found: Sequence[Scene], asked: Asked, target: Path, terms: Terms
) -> tuple[dict[str, Any], list[Outcome]]:
    """Do it: prepared as a whole, noted, carried out, recorded. Answers what --json prints, and each outcome."""
    from engine.recovery import unfinished
    from engine.recovery.errand import carry_out_all
    from engine.recovery.restore import Helping
    from engine.recovery.restoring import data_bytes
    from engine.recovery.told import act_json, in_all, outcome_json, plan_json, plans_in_all, point_json

    owned = ownership(found[0], asked.owners)
    parts = ready(found, asked, target, terms, owned)
    scene_of = {there.address: there for there in found}
    if terms.begun is None:
        unfinished.note(where.home, _begun(asked, parts, target, terms))
    plans = {
        part.address: plan_json(part.prepared, part.prepared.plan.target, data_bytes(found[0].session, part.prepared))
        for part in parts
    }
    recorded = True
    for part in parts:
        plan = {name: plans[part.address][name] for name in ("files", "bytes")}
        recorded &= record(where, scene_of[part.address], part.prepared, BEGUN, {**_how(asked, terms), "plan": plan})
    sources: list[dict[str, Any]] = []

    def each(part: Part, outcome: Outcome) -> None:
        nonlocal recorded
        told = outcome_json(outcome)
        recorded &= record(
            where, scene_of[part.address], part.prepared, ENDED, {**_how(asked, terms), **act_json(told)}
        )
        row = {"address": part.address, **point_json(part.prepared.point), "plan": plans[part.address], **told}
        sources.append(row)

    def broken_off(why: str, code: str) -> None:
        ended = {row["address"] for row in sources}
        for part in parts:
            if part.address not in ended:
                told = {**_how(asked, terms), "verified": False, "error": why, "code": code}
                record(where, scene_of[part.address], part.prepared, ENDED, told)

    with progress(asked.as_json) as drawn, recording(broken_off):
        data = sum(plan.get("data_bytes", plan["bytes"]) for plan in plans.values())
        task = drawn.add_task("restoring", total=data * (2 if asked.verify else 1) or None)

        def moved(doing: str) -> Callable[[int, int], None]:
            return lambda files, count: drawn.update(task, advance=count, description=doing)

        outcomes = carry_out_all(
            *(found[0].journal, found[0].session, parts),
            verify=asked.verify,
            progress=moved("restoring"),
            reading=moved("reading back"),
            helping=Helping(where.journal, master_key(where), os.cpu_count() or 1),
            owners=owned.kept,
            each=each,
        )
    if asked.scope.one:
        return {**sources[0], "recorded": recorded}, outcomes
    outcome = in_all([{name: row[name] for name in row if name != "plan"} for row in sources])
    plan = plans_in_all(list(plans.values()))
    return {"address": asked.name, "plan": plan, **outcome, "sources": sources, "recorded": recorded}, outcomes


def ready(
    found: Sequence[Scene], asked: Asked, target: Path, terms: Terms, owned: Ownership | None = None
) -> list[Part]:
    """All that is about to be done, and what stands in its way. Nothing is touched."""
    from engine.fill.life.recoveries import refuse_filling
    from engine.recovery.errand import look
    from engine.recovery.own_history import refuse_into_protected

    prepared = prepared_parts(found, asked, os.fsencode(target), terms.begun, owned)
    if not terms.overwrite and terms.begun is None:
        for place in {os.fsencode(target), *(one.plan.target for _, one in prepared)}:
            refuse_filling(found[0].settings.home, os.path.realpath(os.fsdecode(place)))
    if asked.guarded and not asked.into_protected:
        refuse_into_protected(found[0].journal, [one for _, one in prepared], asked.path, os.fsencode(target))
    return look(prepared, target, terms)


def prepared_parts(
    found: Sequence[Scene],
    asked: Asked,
    target: bytes,
    begun: Begun | None = None,
    owned: Ownership | None = None,
) -> list[tuple[str, Prepared]]:
    """All that is about to be made, by address. What is left out is said."""
    from engine.recovery.errand import prepare_all

    wanted = _wanted(found, asked, begun)
    owned = owned or ownership(found[0], asked.owners)
    prepared, missing = prepare_all(
        *(found[0].journal, found[0].session, wanted, asked.path, target),
        spread=not asked.scope.one,
        owners=owned.mapped,
        partial=asked.partial,
    )
    for address, error in missing.items():
        say(f"{address} is left out: {error.message}", BUSY)
    return prepared


def _wanted(found: Sequence[Scene], asked: Asked, begun: Begun | None) -> list[Wanted]:
    """Each source with the point that answers: of a restore that goes on the one that did before."""
    from engine.recovery.errand import Wanted, nothing_of

    if len(found) > 1 and asked.at.startswith("point:"):
        raise UsageError("a position is one source's own", hint="for several write a time, or mark:LABEL")
    wanted: list[Wanted] = []
    missing: dict[str, NothingThere] = {}
    for there in found:
        before = begun.points.get(there.stream.id) if begun else None
        if begun and before is None:
            continue
        try:
            wanted.append(Wanted(there.address, there.stream, there.point(f"point:{before}" if before else asked.at)))
        except NothingThere as error:
            missing[there.address] = error
    if missing and not (wanted and asked.partial):
        refusal = nothing_of(missing, len(found))
        raise refusal if asked.scope.one else of_all(refusal, missing, len(found), lambda at: _lacking(found, at))
    for address, why in missing.items():
        say(f"{address} is left out: {why.message}", BUSY)
    return wanted


def _lacking(found: Sequence[Scene], at: str) -> dict[str, NothingThere]:
    """The sources that have no point of a moment."""
    missing: dict[str, NothingThere] = {}
    for there in found:
        try:
            there.point(at)
        except NothingThere as error:
            missing[there.address] = error
    return missing


def terms_of(where: Settings, asked: Asked, target: Path) -> Terms:
    """What is known of the target: an earlier run of this very restore, if it left something there."""
    from engine.recovery import unfinished
    from engine.recovery.errand import Terms
    from engine.tree.target import first_entry

    begun = unfinished.read(where.home, target)
    if begun is not None and first_entry(target) and begun.asked == asked.again():
        say(f"going on with the restore {begun.id}, which began {local_time(begun.begun_at)} and was broken off", BUSY)
        return Terms(begun.id, asked.overwrite, asked.aside, begun)
    return Terms(unfinished.new_id(), asked.overwrite, asked.aside)


def _begun(asked: Asked, parts: Sequence[Part], target: Path, terms: Terms) -> Begun:
    from engine.recovery.unfinished import Begun
    from engine.tree.target import first_entry

    points = {part.prepared.stream.id: str(part.prepared.point.position) for part in parts}
    holds = first_entry(target)
    return Begun(
        terms.id, str(target), asked.again(), SYSTEM.now(), points, holds is None, bool(holds), not asked.scope.one
    )


def _how(asked: Asked, terms: Terms) -> dict[str, Any]:
    """What the audit keeps of how it was asked for, beyond what and where."""
    told: dict[str, Any] = {"restore": terms.id}
    told |= {"scope": asked.name} if not asked.scope.one else {}
    told |= {name: True for name in ("overwrite", "aside", "partial", "into_protected") if getattr(asked, name)}
    told |= {"owners": asked.owners} if asked.owners else {}
    return told | ({"again": True} if terms.begun else {})


def shown_plan(asked: Asked, session: Session, parts: Sequence[Part], place: str, *, is_directory: bool = True) -> int:
    """The dry run."""
    from engine.recovery.restoring import data_bytes
    from engine.recovery.told import plan_json, plans_in_all, point_json
    from engine.tree.standing import details

    rows: list[dict[str, Any]] = [
        {
            "address": part.address,
            **point_json(part.prepared.point),
            "plan": {
                **plan_json(part.prepared, part.prepared.plan.target, data_bytes(session, part.prepared)),
                "standing": details(part.onto.standing),
            },
        }
        for part in parts
    ]
    if asked.scope.one:
        [row] = rows
        if asked.as_json:
            print_json({**row, "dry_run": True})
        else:
            render_plan(row, row["address"], row["plan"]["target"] if is_directory else place)
        return 0
    plan = plans_in_all([row["plan"] for row in rows])
    answer = {"address": asked.name, "plan": plan, "sources": rows, "dry_run": True}
    if asked.as_json:
        print_json(answer)
    else:
        render_plans(answer, place)
    return 0


def shown(asked: Asked, answer: Mapping[str, Any]) -> None:
    """What was done."""
    if asked.as_json:
        print_json(answer)
    elif asked.scope.one:
        render(answer)
    else:
        render_several(answer)
    if not asked.as_json:
        for path in answer["kept_aside"]:
            say(f"kept aside: {printable(path)}", BUSY)
