"""bcsctl restore --to scratch: to a place of its own, read back, checked; then promoted or discarded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcsctl.entries import damage_is_a_difference
from bcsctl.opening import Scene, journal, scenes
from bcsctl.output import BAD, BUSY, DIM, GOOD, local_time, print_json, printable, say, table, tell
from bcsctl.restoring import host_scratch
from bcsctl.restoring.acts import act
from bcsctl.restoring.here import Asked, bring, code_of, goes_on, ready, shown, shown_plan, terms_of
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.model.counts import counted
from engine.model.errors import BcsError, NothingThere, Refused, UsageError
from engine.model.policy.site import EMBEDDED_HOST
from engine.model.times import format_about, format_size, format_time, parse_time

if TYPE_CHECKING:
    from engine.recovery.unfinished import Begun
    from engine.tree.scratch.place import Scratch

NAME = "scratch"
CHECKED, PROMOTED, PROMOTING, DISCARDED = "scratch-check", "promote", "promoting", "discard"
"""What the audit calls these acts."""
FAILED_CHECK = 6


def to_scratch(
    where: Settings, asked: Asked, beside: str | None, commands: Sequence[str], seconds: float, may_write: bool
) -> int:
    """Restore to scratch, read everything back, run the checks."""
    from engine.recovery import unfinished
    from engine.recovery.acts import who_acts
    from engine.tree.scratch import manifest, place

    if where.site is not None:
        raise UsageError("scratch is on the machine that has the journal", hint="say --to HOST:scratch")
    asked = replace(asked, verify=True, guarded=False)  # of one beside the live files it is said
    with damage_is_a_difference(), scenes(where, asked.scope) as found:
        wanted = {**asked.again(), "beside": beside}
        if asked.dry_run:
            nowhere = where.home / place.FOLDER / "new"
            parts = ready(found, asked, nowhere, terms_of(where, asked, nowhere))
            place_told = f"scratch, in a new directory below {printable(beside or str(nowhere.parent))}"
            return shown_plan(asked, found[0].session, parts, place_told, is_directory=False)
        scratch = place.unfinished(where.home, wanted)
        is_new = scratch is None
        if scratch is None:
            folder = Path(beside).expanduser() if beside else None
            _warn_when_protected(found, folder)
            scratch = place.new(where.home, folder, SYSTEM.now(), who_acts(), wanted)
        tree = Path(scratch.tree)
        with unfinished.alone(where.home, tree):
            try:
                with goes_on():
                    answer, outcomes = bring(where, found, asked, tree, terms_of(where, asked, tree))
            except (NothingThere, Refused, UsageError):
                if is_new:
                    place.forget(where.home, scratch)
                raise
            code = code_of(outcomes)
            unfinished.end(where.home, tree)
            scratch = _known(found, asked, scratch, answer, place.DAMAGED if code else place.RESTORED)
            if not code:
                began = SYSTEM.monotonic()
                manifest.write(place.manifest_file(where.home, scratch), manifest.take(scratch.root))
                answer = {**answer, "seconds": round(answer["seconds"] + SYSTEM.monotonic() - began, 3)}
            place.save(where.home, scratch)
        checked = None
        if commands and not code:
            scratch, checked = _check(where, scratch, commands, seconds, may_write)
            code = 0 if checked["passed"] else FAILED_CHECK
    answer = {**answer, "scratch": place.as_json(scratch), **({"checked": checked} if checked else {})}
    shown(asked, answer)
    if not asked.as_json:
        _render_checked(checked)
        say(f"scratch {scratch.id} is at {printable(scratch.tree)}", GOOD)
        way = "check" if code else "promote"
        say(f"then: bcsctl restore {way} {scratch.id}, or bcsctl restore discard {scratch.id}", DIM)
    return code


def check(where: Settings, id: str, commands: Sequence[str], seconds: float, may_write: bool, as_json: bool) -> int:
    """Run checks on a scratch restore."""
    from engine.recovery import unfinished
    from engine.tree.scratch import place

    if _on_a_host(where, id):
        return host_scratch.check(where, id, tuple(commands), as_json)
    scratch = place.read(where.home, id)
    if scratch.changed:
        changed = counted(scratch.changed, "path")
        say(f"an earlier look found {changed} of this tree changed: restore anew to undo that", BUSY)
    with unfinished.alone(where.home, Path(scratch.tree)):
        scratch, checked = _check(where, scratch, commands, seconds, may_write)
    if as_json:
        print_json({"scratch": place.as_json(scratch), "checked": checked})
    else:
        _render_checked(checked, later=True)
    return 0 if checked["passed"] else FAILED_CHECK


def promote(
    where: Settings, id: str, to: str | None, *, aside: bool, changed: bool, into_protected: bool, as_json: bool
) -> int:
    """Put a scratch restore in its place."""
    from engine.recovery import unfinished
    from engine.tree.scratch import place
    from engine.tree.scratch.promote import promote as put_in_place

    if _on_a_host(where, id):
        asked = {"aside": aside, "changed": changed, "into_protected": into_protected}
        return host_scratch.promote(where, id, to, asked, as_json)
    scratch = place.read(where.home, id)
    _refuse_filling(where, scratch, Path(to) if to else None)
    if to is not None and not into_protected:
        _refuse_protected(where, scratch, Path(to))
    how = {"to": to, "aside": aside, "changed": changed, **({"into_protected": True} if into_protected else {})}
    begun = _act(where, scratch, PROMOTING, how)
    with unfinished.alone(where.home, Path(scratch.tree)):
        try:
            moved = put_in_place(where.home, scratch, Path(to) if to else None, aside=aside, changed=changed)
        except BcsError as error:
            _act(where, scratch, PROMOTED, {"verified": False, "error": error.message, "code": error.code})
            raise
    done = {"target": ", ".join(move["to"] for move in moved), "moves": moved, "changed": changed}
    as_checked = not any(move["though"] for move in moved)
    counts = {"files": scratch.files, "bytes": scratch.content_bytes, "verified": as_checked}
    recorded = _act(where, scratch, PROMOTED, {**done, **counts}) and begun
    if as_json:
        print_json({"scratch": scratch.id, "moves": moved, "checks": list(scratch.checks), "recorded": recorded})
        return 0
    for move in moved:
        if move["though"]:
            tell(f"{printable(move['to'])} is scratch {scratch.id}, taken as it is though {move['though']}", BUSY)
        else:
            was = "checked" if scratch.checks else "kept"
            tell(f"{printable(move['to'])} is what was {was} as scratch {scratch.id}", GOOD)
        if move["aside"]:
            tell(f"what stood there is kept aside: {printable(move['aside'])}")
    return 0


def discard(where: Settings, id: str, as_json: bool) -> int:
    """Remove a scratch restore; or forget a restore that was broken off, whose files stay."""
    from engine.recovery import unfinished
    from engine.tree.scratch import place

    if _on_a_host(where, id):
        return host_scratch.discard(where, id, as_json)
    named = [begun for begun in unfinished.every(where.home) if id and begun.id.startswith(id)]
    if len(named) + sum(one.id.startswith(id) for one in place.every(where.home)) > 1:
        raise NothingThere(f"'{id}' is the beginning of several", hint="`bcsctl restore list` shows them: write more")
    for begun in named:
        unfinished.end(where.home, Path(begun.target))
        act(where, DISCARDED, {"restore": begun.id, "target": begun.target})
        if as_json:
            print_json({"discarded": begun.id, "target": begun.target, "files_stay": True})
        else:
            tell(f"forgotten; what was written stays in {printable(begun.target)}")
        return 0
    scratch = place.read(where.home, id)
    with unfinished.alone(where.home, Path(scratch.tree)):
        place.discard(where.home, scratch)
        unfinished.end(where.home, Path(scratch.tree))
    recorded = _act(where, scratch, DISCARDED, {})
    if as_json:
        print_json({"discarded": scratch.id, "target": scratch.tree, "files_stay": False, "recorded": recorded})
    else:
        tell(f"scratch {scratch.id} is gone")
    return 0


def listed(where: Settings, as_json: bool) -> int:
    """Scratch restores, and restores that were broken off."""
    from engine.recovery import unfinished
    from engine.tree.scratch import place

    away = host_scratch.rows(where)
    if where.site is not None:
        return _listed(as_json, [], [], away)
    scratches = place.every(where.home)
    trees = {scratch.tree for scratch in scratches}
    begun = [one for one in unfinished.every(where.home) if one.target not in trees]
    return _listed(as_json, scratches, begun, away)


def _listed(
    as_json: bool, scratches: Sequence[Scratch], begun: Sequence[Begun], away: Sequence[Mapping[str, Any]]
) -> int:
    from engine.tree.scratch import place

    if as_json:
        unfinished_rows = [
            {"id": one.id, "target": one.target, "asked": dict(one.asked), "began_at": format_time(one.begun_at)}
            for one in begun
        ]
        here = [{**place.as_json(scratch), "host": ""} for scratch in scratches]
        print_json({"scratches": [*here, *away], "unfinished": unfinished_rows})
        return 0
    rows = [
        [one.id, one.state, local_time(one.made_at), str(one.asked["scope"]), format_size(one.content_bytes), one.tree]
        for one in scratches
    ]
    rows += [
        [one.id, "broken off", local_time(one.begun_at), str(one.asked["scope"]), "-", one.target] for one in begun
    ]
    rows += [
        [row["id"], row["state"], local_time(parse_time(row["made_at"], 0)), row["address"],
         format_size(row["bytes"]), f"{row['host']}:{row['tree']}"]
        for row in away
    ]  # fmt: skip
    if rows:
        table(["ID", "STATE", "MADE", "SOURCE", "SIZE", "PLACE"], rows, right=("SIZE",))
    else:
        nothing = "there is no scratch restore, and no restore was broken off"
        say(f"{nothing}: `bcsctl restore ADDRESS --to scratch` makes a scratch restore", DIM)
    return 0


def _on_a_host(where: Settings, id: str) -> bool:
    """Whether an id is that of a tree on a host, and not of this machine's."""
    from engine.recovery import unfinished
    from engine.tree.scratch import place

    if where.site is None:
        here = [one.id for one in place.every(where.home)] + [one.id for one in unfinished.every(where.home)]
        if any(id and each.startswith(id) for each in here):
            return False
    return host_scratch.is_there(where, id)


def _warn_when_protected(found: Sequence[Scene], folder: Path | None) -> None:
    """What is restored below a source of this machine is captured as any change of it is."""
    from engine.query.applied import read_policies

    if folder is None:
        return
    place = Path(os.path.realpath(folder))
    for applied in read_policies(found[0].journal, 1):
        for address, source in applied.get("sources", {}).items():
            inside = [path for path in source["paths"] if place.is_relative_to(path)]
            if inside and address.split("/")[1] == EMBEDDED_HOST:
                say(f"{folder} belongs to {address}: what is restored there is captured too, until it is gone", BUSY)


def _refuse_filling(where: Settings, scratch: Scratch, to: Path | None) -> None:
    """Refused where a recovery on demand fills what the tree would take the place of. One that has begun goes on."""
    from engine.fill.life.recoveries import refuse_filling
    from engine.tree.scratch import place
    from engine.tree.scratch.promote import planned

    if scratch.state != place.PROMOTING:
        for _, target in planned(scratch, to):
            refuse_filling(where.home, os.path.realpath(os.fsdecode(target)))


def _refuse_protected(where: Settings, scratch: Scratch, to: Path) -> None:
    """Refused when it would become new history of what is protected there; where it came from it may go."""
    from engine.recovery.own_history import refuse_protected
    from engine.tree.scratch.promote import planned

    origins = [os.fsencode(origin) for _, origin in scratch.roots]
    refuse_protected(journal(where), [(target, origins) for _, target in planned(scratch, to)])


def _known(found: Sequence[Scene], asked: Asked, scratch: Scratch, answer: Mapping[str, Any], state: str) -> Scratch:
    """What is known of a scratch restore once it was tried."""
    rows = answer.get("sources", [answer])
    sources = [{name: row[name] for name in ("address", "point", "at", "class")} for row in rows]
    scenes_by_address = {there.address: there for there in found}
    roots = [root for row in rows for root in _roots(scenes_by_address[row["address"]], asked, scratch, row)]
    return replace(
        scratch,
        state=state,
        sources=tuple(sources),
        roots=tuple(roots) if len(rows) == len(found) else (),
        files=answer["files"],
        content_bytes=_content_bytes(answer),
    )


def _content_bytes(answer: Mapping[str, Any]) -> int:
    """What the tree holds, without the files' holes where that is known: of many files nobody counts them before, and
    an earlier run may have written a part."""
    plan = answer["plan"]
    return int(plan.get("data_bytes", plan["bytes"] if answer["kept"] else answer["bytes"]))


def _roots(there: Scene, asked: Asked, scratch: Scratch, row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where what lies in the tree came from, if that is on this machine and is one path each."""
    from engine.model.events import DIRECTORY
    from engine.plan.restore import origins
    from engine.query.applied import paths_of
    from engine.query.tree import stat

    if there.stream.address.host != EMBEDDED_HOST:
        return
    point = there.point(f"point:{row['point']}")
    own = paths_of(there.journal, there.stream.id, point.at)
    inside = os.path.relpath(os.fsencode(row["plan"]["target"]), scratch.root)
    is_file = False
    if asked.path is None and len(own) == 1 and own[0] != b"/":
        is_file = stat(there.session, there.stream.id, point.position, own[0]).inode.type != DIRECTORY
    for path, origin in origins(asked.path, own, b"" if inside == b"." else inside, is_file=is_file):
        if os.path.lexists(os.path.join(scratch.root, path)):
            yield os.fsdecode(path) or ".", os.fsdecode(origin)


def _check(
    where: Settings, scratch: Scratch, commands: Sequence[str], seconds: float, may_write: bool
) -> tuple[Scratch, dict[str, Any]]:
    from engine.tree.scratch.checks import compare, run_checks

    if commands:
        done = run_checks(where.home, scratch, commands, seconds, may_write, SYSTEM)
    else:
        done = compare(where.home, scratch, SYSTEM)
    checks = list(done.scratch.checks[-max(1, len(commands)) :])
    changes = [{"path": path, "what": what} for path, what in done.changes]
    result = {"passed": done.scratch.state == "checked", "checks": checks, "changes": changes}
    brief = [{name: each[name] for name in ("command", "code", "seconds")} for each in checks]
    _act(where, scratch, CHECKED, {"checks": brief, "changed": done.scratch.changed, "passed": result["passed"]})
    return done.scratch, result


def _act(where: Settings, scratch: Scratch, what: str, more: Mapping[str, Any]) -> bool:
    addresses = [source["address"] for source in scratch.sources]
    named: dict[str, Any] = {"address": addresses[0]} if len(addresses) == 1 else {"addresses": addresses}
    if len(scratch.sources) == 1:
        named |= {name: scratch.sources[0][name] for name in ("point", "at", "class")}
    return act(where, what, {"scratch": scratch.id, **named, "target": scratch.tree, **more})


def _render_checked(checked: Mapping[str, Any] | None, *, later: bool = False) -> None:
    """`later`: the tree has stood about since it was read back, and anybody may have written there."""
    if checked is None:
        return
    for each in checked["checks"]:
        took = format_about(round(each["seconds"] * 1e6))
        say(f"check {each['command']!r}: exit {each['code']} in {took}", BAD if each["code"] else GOOD)
        if each["code"] and each["output"]:
            say(printable(each["output"].splitlines()[-1]))
    failed = sum(bool(each["code"]) for each in checked["checks"])
    if failed:
        say(f"{failed} of {counted(len(checked['checks']), 'check')} failed", BAD)
    for change in checked["changes"]:
        what = "changed since it was restored" if later else "changed by a check"
        say(f"{what}: {printable(change['path'])}: {change['what']}", BUSY)
    if checked["changes"] and not checked["passed"]:
        of_a_check = "what a check changed is not what was kept: --may-write takes it as checked"
        say("this tree is not what was kept: find out who wrote there, or restore anew" if later else of_a_check, BAD)
