"""Scratch on a host: a restore to a place of its own in the agent's home, compared, promoted or discarded there.

No command is run that came over the network: who is root on the host looks at the tree, and runs what he likes. What
anybody has changed there meanwhile is found before it is promoted.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.agent.restore import landing
from engine.agent.restore.client import Stopped
from engine.agent.restore.restoring import Job, Run
from engine.env import durable
from engine.model.errors import BcsError, NothingThere, Refused
from engine.tree.paths import shown
from engine.tree.scratch import manifest, place
from engine.tree.scratch.checks import compare
from engine.tree.scratch.place import DAMAGED, RESTORED, Scratch
from engine.tree.scratch.promote import planned, promote


class ToScratch(Run):
    """Restore to scratch, read all of it back, and keep what it is to be."""

    def whole(self) -> dict[str, Any]:
        job, home = self._job, _home(self._job)
        asked = self._asked()
        made = next((one for one in place.every(home) if one.asked == asked and one.state != place.RESTORING), None)
        if made is not None:
            return _again(made)  # killed before the node heard of it
        scratch = place.unfinished(home, asked)
        if scratch is None:
            beside = self._beside()
            scratch = place.new(home, beside, self._clock.now(), str(job.how.get("by", "")), asked)
        # The place is ours: nothing that lands elsewhere has to be looked at.
        self._job = replace(job, target=scratch.root, own=(), protected=(), guarded=False, verify=True)
        try:
            outcome = super().whole()
        except (BcsError, OSError) as error:
            if not (isinstance(error, Stopped) and self._stopping.is_set()) and not _replanned(error):
                place.forget(home, scratch)
            raise
        with self._busy("reading"):
            return {**outcome, "scratch": place.as_json(self._known(home, scratch, outcome))}

    def _asked(self) -> dict[str, Any]:
        how = self._job.how
        return {"restore": self._job.name, "scope": str(how.get("address", "")), "path": how.get("path")}

    def _beside(self) -> Path | None:
        named = str(self._job.how.get("beside") or "")
        if not named:
            return None
        job = self._job
        # What is beside protected files is no part of them.
        inside = os.fsencode(named).rstrip(b"/") + b"/" + place.HOLDER.encode() + job.name.encode()
        real = landing.check(inside, job.own, job.protected, guarded=job.guarded)
        return Path(os.fsdecode(os.path.dirname(real)))

    def _known(self, home: Path, scratch: Scratch, outcome: Mapping[str, Any]) -> Scratch:
        """What is known of it once it is there."""
        how = self._job.how
        source = {name: how[name] for name in ("address", "point", "at", "class") if name in how}
        roots = [
            (str(path), str(origin))
            for path, origin in self._plan.get("roots", ())
            if os.path.lexists(os.path.join(scratch.root, os.fsencode(path)))
        ]
        known = replace(
            scratch,
            state=RESTORED if outcome["verified"] else DAMAGED,
            sources=(source,),
            roots=tuple(roots),
            files=int(outcome["files"]),
            content_bytes=int(self._plan.get("data_bytes", self._plan.get("bytes", 0))),
        )
        if outcome["verified"]:
            manifest.write(place.manifest_file(home, known), manifest.take(known.root))
        place.save(home, known)
        return known


def _again(scratch: Scratch) -> dict[str, Any]:
    """The outcome of a restore to scratch that came to its end before."""
    counts = {"files": scratch.files, "names": scratch.files, "bytes": scratch.content_bytes, "seconds": 0.0}
    lists: dict[str, Any] = {"failures": [], "shortfalls": [], "failures_count": 0, "shortfalls_count": 0}
    whole = scratch.state != DAMAGED
    ended = {"verified": whole, "read_back": True, "damaged": not whole}
    return {**counts, **ended, **lists, "scratch": place.as_json(scratch)}


class OnScratch(Run):
    """Something that is done with a tree in scratch. Nothing is received."""

    def whole(self) -> dict[str, Any]:
        home = _home(self._job)
        with self._busy("reading"), alone(home):
            return self._done(home)

    def _done(self, home: Path) -> dict[str, Any]:
        raise NotImplementedError

    def _scratch(self, home: Path) -> Scratch:
        return place.read(home, str(self._job.how.get("scratch", "")))


class Check(OnScratch):
    """Compare it with what was kept."""

    def _done(self, home: Path) -> dict[str, Any]:
        done = compare(home, self._scratch(home), self._clock)
        changes = [{"path": path, "what": what} for path, what in done.changes]
        checked = {"passed": not changes, "checks": list(done.scratch.checks[-1:]), "changes": changes}
        return {"scratch": place.as_json(done.scratch), "checked": checked}


class Promote(OnScratch):
    """Put the very bytes that were kept in their place."""

    def _done(self, home: Path) -> dict[str, Any]:
        how, job = self._job.how, self._job
        told = _noted(job)
        try:
            scratch = self._scratch(home)
        except NothingThere:
            if told is None:
                raise
            return told  # killed when all was done
        to = Path(str(how["to"])) if how.get("to") else None
        moves = planned(scratch, to) if scratch.state != place.PROMOTING else []
        for _, target in moves:
            _refuse_target(job, target, [os.fsencode(origin) for _, origin in scratch.roots])
        outcome = {"scratch": place.as_json(scratch), "files": scratch.files, "bytes": scratch.content_bytes}
        rows = [{"from": os.fsdecode(one), "to": os.fsdecode(other), "aside": None} for one, other in moves]
        if job.state is not None and rows:
            durable.replace(job.state, json.dumps({**outcome, "moves": rows}).encode())
        done = promote(home, scratch, to, aside=bool(how.get("aside")), changed=bool(how.get("changed")))
        return {**outcome, "moves": [dict(move) for move in done], "verified": not any(move["though"] for move in done)}


class Discard(OnScratch):
    """Remove it."""

    def _done(self, home: Path) -> dict[str, Any]:
        scratch = self._scratch(home)
        place.discard(home, scratch)
        return {"scratch": place.as_json(scratch)}


def every(home: Path) -> list[dict[str, Any]]:
    """What this host has in scratch, as it tells its node."""
    return [
        {
            **place.as_json(scratch),
            "checks": [_brief(each) for each in scratch.checks[-10:]],
            "restore": scratch.asked["restore"],
        }
        for scratch in place.every(home)[-50:]
        if scratch.asked.get("restore")  # others were made by hand
    ]


def forget_unwanted(home: Path, wanted: set[str]) -> None:
    """Remove trees that no restore makes any more."""
    for scratch in place.every(home):
        if scratch.state == place.RESTORING and scratch.asked.get("restore") not in wanted:
            with suppress(BcsError, OSError):
                place.forget(home, scratch)


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Within it nothing else is done with this home's scratch; waits for whoever is at it."""
    durable.make_directories(home / place.FOLDER)
    fd = os.open(home / place.FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _refuse_target(job: Job, target: bytes, origins: list[bytes]) -> None:
    """Refused where nothing may be restored to, but for where it came from; and where somebody else might lead us
    elsewhere: what is renamed there goes by its name."""
    protected = [] if target in origins or job.how.get("into_protected") else job.protected
    landing.check(target, job.own, protected, guarded=target not in origins, empty=False)
    above = os.path.dirname(target)
    real = os.path.realpath(above)
    if real != above:
        raise Refused(f"{shown(above)} leads to {shown(real)} by a link", hint=f"name it with --to {shown(real)}/...")
    while above != b"/":
        above = os.path.dirname(above)
        status = os.stat(above)
        loose = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or loose:
            raise Refused(
                f"others than root may rename what is in {shown(above)}, and so lead us elsewhere",
                hint="promote to a place that root alone leads to, or restore with --overwrite",
            )


def _noted(job: Job) -> dict[str, Any] | None:
    """What an earlier run of this errand was about to do."""
    if job.state is None:
        return None
    try:
        value = json.loads(job.state.read_bytes())
    except (OSError, ValueError):
        return None
    return {**value, "verified": True} if isinstance(value, dict) and "moves" in value else None


def _replanned(error: BaseException) -> bool:
    return isinstance(error, Refused) and bool(error.details.get("state"))


def _home(job: Job) -> Path:
    assert job.home is not None
    return job.home


def _brief(check: Mapping[str, Any]) -> dict[str, Any]:
    return {name: check[name] for name in ("command", "code", "seconds") if name in check}
