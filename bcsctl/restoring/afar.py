"""bcsctl restore --to HOST:DIR, and from a site: the node sends it, to hosts whose agents receive it or to us."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bcsctl.node_client import get
from bcsctl.open_gaps import say_unseen
from bcsctl.output import BUSY, DIM, GOOD, print_json, printable, say
from bcsctl.restoring import remote as restore_remote
from bcsctl.restoring.here import Asked
from bcsctl.restoring.moments import of_all
from bcsctl.restoring.owners import as_sent
from bcsctl.restoring.view import render, render_plan, render_plans, render_several
from bcsctl.settings import Settings
from engine.model.errors import BcsError, NothingThere, UsageError
from engine.model.ids import Address, parse_address
from engine.plan.scope import chosen, landings
from engine.wire.errands import SCRATCH

EACH = "*"
"""As the host: each source goes to its own."""


def from_afar(where: Settings, asked: Asked, host: str, folder: str) -> int:
    """Have the node send it. Several sources land in DIR/HOST/SOURCE, one after the other."""
    return _brought(where, asked, wanted_of(where, asked, host, folder), folder)


def to_host_scratch(where: Settings, asked: Asked, host: str, beside: str | None) -> int:
    """Have the node send it to scratch on a host, each source to a place of its own."""
    if beside and not beside.startswith("/"):
        raise UsageError(f"'{beside}' on {host} is not an absolute path", hint="write --scratch /the/whole/path")
    how = {"beside": beside} if beside else {}
    wanted = [
        replace(each, folder=b"/", verify=True, way=SCRATCH, how={**each.how, **how})
        for each in wanted_of(where, asked, host, "/")
    ]
    return _brought(where, asked, wanted, f"{host}:{SCRATCH}")


def _brought(where: Settings, asked: Asked, wanted: Sequence[restore_remote.Asked], folder: str) -> int:
    if asked.scope.one:
        return _one(where, asked, wanted[0])
    return _several(where, asked, wanted, folder)


def wanted_of(where: Settings, asked: Asked, host: str, folder: str) -> list[restore_remote.Asked]:
    from engine.recovery.acts import who_acts

    place = os.fsencode(folder) if host else restore_remote.local_folder(folder)
    if not host and not asked.into_protected:
        refuse_own(where, place)
    if asked.scope.one:
        places = {parse_address(str(asked.scope)): place}
    else:
        places = landings(chosen(asked.scope, known_of(where, asked)), place)
    who, how = who_acts(), how_of(asked)
    return [
        restore_remote.Asked(
            *(str(address), asked.path, asked.at, address.host if host == EACH else host, lands, asked.verify, who),
            how=how,
        )
        for address, lands in places.items()
    ]


def how_of(asked: Asked) -> dict[str, Any]:
    """What a node is told beyond what and where."""
    how: dict[str, Any] = {name: True for name in ("overwrite", "aside", "into_protected") if getattr(asked, name)}
    return {**how, "owners": as_sent(asked.owners)} if asked.owners else how


def refuse_own(where: Settings, place: bytes) -> None:
    """Refused where the embedded site of this machine would take what is restored for new history of its own."""
    from bcsctl.opening import journal
    from engine.recovery.own_history import refuse_protected

    if not where.journal.is_dir():
        return
    try:
        own = journal(where)
    except BcsError as error:
        say(f"whether this machine protects {os.fsdecode(place)} could not be looked up: {error.message}", BUSY)
        return
    refuse_protected(own, [(place, ())], whole=True)


def known_of(where: Settings, asked: Asked) -> dict[Address, Mapping[str, str]]:
    """The sources that the node knows."""
    if asked.scope.labels:
        raise UsageError("--selector is for this machine's own history", hint="name a group or a host")
    return {parse_address(row["address"]): {} for each in get(where, "/v1/status")["groups"] for row in each["sources"]}


def _one(where: Settings, asked: Asked, wanted: restore_remote.Asked) -> int:
    if asked.dry_run:
        told = _planned(where, asked, wanted)
        if asked.as_json:
            print_json(told)
        else:
            render_plan(told, wanted.address, wanted.place)
        return 0
    told = _done(where, asked, wanted)
    say_unseen(wanted.address, told)
    damaged = told.pop("damaged")
    if asked.as_json:
        print_json(told)
    else:
        render(told, f" to {wanted.place}" if wanted.host else "")
        _say_more(told)
    return 0 if told["verified"] else 6 if damaged else 1


def _several(where: Settings, asked: Asked, wanted: Sequence[restore_remote.Asked], folder: str) -> int:
    """Nothing begins before each of them has an answer."""
    from engine.recovery.errand import nothing_of
    from engine.recovery.told import in_all

    plans: dict[str, dict[str, Any]] = {}
    missing: dict[str, NothingThere] = {}
    for one in wanted:
        try:
            plans[one.address] = {**_planned(where, asked, one), "host": one.host}
        except NothingThere as error:
            missing[one.address] = error
    if missing and not (plans and (asked.partial or asked.path is not None)):
        refusal = nothing_of(missing, len(wanted))
        raise of_all(refusal, missing, len(wanted), lambda at: lacking(where, wanted, at))
    for address, why in missing.items():
        say(f"{address} is left out: {why.message}", BUSY)
    plan = in_all([row["plan"] for row in plans.values()])
    answer: dict[str, Any] = {"address": str(asked.scope), "plan": plan}
    if asked.dry_run:
        answer |= {"sources": list(plans.values()), "dry_run": True}
        if asked.as_json:
            print_json(answer)
        else:
            hosts = {one.host for one in wanted}
            render_plans(answer, f"{EACH if len(hosts) > 1 else host}:{folder}" if (host := min(hosts)) else folder)
        return 0
    done = [{**_done(where, asked, one), "host": one.host} for one in wanted if one.address in plans]
    summed = in_all([{name: row[name] for name in row if name not in ("plan", "version", SCRATCH)} for row in done])
    damaged = any(row.pop("damaged") for row in done)
    summed.pop("damaged", None)
    answer |= {**summed, "sources": done}
    if asked.as_json:
        print_json(answer)
    else:
        render_several(answer)
        for row in done:
            _say_more(row)
    return 0 if answer["verified"] else 6 if damaged else 1


def lacking(where: Settings, wanted: Sequence[restore_remote.Asked], at: str) -> dict[str, NothingThere]:
    """The sources that have no point of a moment."""
    missing: dict[str, NothingThere] = {}
    for one in wanted:
        try:
            restore_remote.planned(where.endpoint, replace(one, at=at))
        except NothingThere as error:
            missing[one.address] = error
    return missing


def _say_more(told: Mapping[str, Any]) -> None:
    for path in told["kept_aside"]:
        say(f"kept aside: {printable(path)}", BUSY)
    if scratch := told.get("scratch"):
        say(f"scratch {scratch['id']} is at {told['host']}:{printable(scratch['tree'])}", GOOD)
        if not told["verified"]:
            say(f"it is not whole: bcsctl restore discard {scratch['id']} removes it, then restore again", DIM)
            return
        say(f"root there may look, and run any check; bcsctl restore check {scratch['id']} compares it again", DIM)
        say(f"then: bcsctl restore promote {scratch['id']}, or bcsctl restore discard {scratch['id']}", DIM)


def _planned(where: Settings, asked: Asked, wanted: restore_remote.Asked) -> dict[str, Any]:
    if wanted.way == SCRATCH:
        told = restore_remote.planned(where.endpoint, wanted)
    else:
        told = restore_remote.looked(where.endpoint, wanted, asked.as_json)
    say_unseen(wanted.address, told)
    return {"address": wanted.address, **told}


def _done(where: Settings, asked: Asked, wanted: restore_remote.Asked) -> dict[str, Any]:
    return restore_remote.carried_out(where.endpoint, wanted, asked.as_json)
