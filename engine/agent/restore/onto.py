"""Receive a restore into a directory that holds things: refused with what is in the way, or put in its place.

All of it is made beside, in a directory of ours inside the target, read back there if that was asked for, and only
then takes its places, name by name, in one step each. What stands there as it is to be is neither sent nor written.
Until the first name is exchanged nothing of what stands there was touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.agent.restore import landing, staging
from engine.agent.restore import state as restore_state
from engine.agent.restore.client import Stopped
from engine.agent.restore.landing import Landing
from engine.agent.restore.placing import Placing
from engine.agent.restore.readback import content_differences
from engine.agent.restore.receive import LISTED, MADE_UP, Node, read_nodes, rows_of
from engine.agent.restore.restoring import REPLANNED, Run
from engine.agent.restore.state import State
from engine.fill.life.recoveries import refuse_filling
from engine.model.errors import BcsError, Refused
from engine.model.events import DIRECTORY, ROOT_ID, Inode
from engine.plan.restore import Made, RestorePlan
from engine.plan.standing import Standing
from engine.tree.attributes import Attributes
from engine.tree.beneath import Beneath
from engine.tree.settle import sync
from engine.tree.standing import details, refuse, survey
from engine.tree.target import first_entry, refuse_cut_off
from engine.wire.errors import Malformed


@dataclass(slots=True)
class Listed:
    """What will be there, without its bytes: `directories` are paths by file_id, `batches` the first and the last that
    holds something of a file."""

    plan: RestorePlan
    directories: dict[int, bytes]
    batches: dict[int, tuple[int, int]] = field(default_factory=dict)


class Onto(Run):
    """One try at a plan, into a directory that may hold things."""

    def whole(self) -> dict[str, Any]:
        self._know()
        job = self._job
        known = restore_state.load(job.state) if job.state is not None else None
        goes_on = known is not None and staging.is_one(known.before, job.name)
        if known is not None and not goes_on:
            return super().whole()  # what it began in was empty
        # A node of before does not say what will be there: with it only an empty directory will do.
        empty = "listings" not in self._plan
        real = landing.check(job.target, job.own, job.protected, guarded=job.guarded, empty=empty)
        if not goes_on and not first_entry(Path(os.fsdecode(real))):
            return super().whole()
        target = landing.hold(real)
        try:
            return self._onto(real, target, known)
        finally:
            os.close(target)

    def _onto(self, real: bytes, target: int, known: State | None) -> dict[str, Any]:
        self._listed = self._list(real)
        standing = survey(self._listed.plan)
        if known is None:
            self._refuse(real, standing)
        if known is None or not os.path.isdir(known.before.real):  # killed when all was in place
            known = State(staging.make(real, target, self._job.name))
        before = known.before
        held = landing.take(os.fsencode(before.real), before)
        try:
            return self._by_way_of(Landing(self._job.target, held.fd, before), real, target, standing, known)
        except (BcsError, OSError) as error:
            if not self._goes_on(error):
                staging.clear(before)
            raise
        finally:
            os.close(held.fd)

    def _refuse(self, real: bytes, standing: Standing) -> None:
        how, home = self._job.how, self._job.home
        if home is not None and not how.get("overwrite"):
            refuse_filling(home, os.fsdecode(real))
        refuse_cut_off(Path(os.fsdecode(real)))
        refuse(
            Path(os.fsdecode(self._job.target)),
            standing,
            overwrite=bool(how.get("overwrite")),
            aside=bool(how.get("aside")),
        )

    def _goes_on(self, error: BcsError | OSError) -> bool:
        """Whether this very restore is gone on with, so that what it has made is of use yet."""
        if isinstance(error, Stopped):
            return self._stopping.is_set() and self._job.state is not None
        return isinstance(error, Refused) and error.details.get("state") == REPLANNED and self._job.state is not None

    def _by_way_of(self, held: Landing, real: bytes, target: int, standing: Standing, known: State) -> dict[str, Any]:
        self._state = known
        self._begin_plan()
        place = Beneath([b"/proc/self/fd/%d" % target])
        try:
            if self._state.kept is None:
                self._state.kept = self._as_wanted(place, target, real, standing)
                self._save(at_once=True)
            self._left_out = frozenset(self._state.kept)
            self._needed = self._batches_of(self._left_out)
            if self._state.placing is None:
                self._state.placing = self._into(held)
                self._save(at_once=True)
            differences = self._state.placing
            self._report("putting in place", at_once=True)
            placing = Placing(place, b"/proc/self/fd/%d" % target, held, real, self._state.done, self._owning.kept)
            finished = (batch for _, batch in self._batches(self._numbers("finished"), data=False))
            placing.put(
                self._listed,
                standing,
                self._left_out,
                {path for path, _ in differences},
                self._job.name if self._job.how.get("aside") else "",
            )
            placing.finish(self._listed, self._left_out, finished)
        finally:
            place.forget()
        sync(b"/proc/self/fd/%d/." % target)
        staging.clear(held.before)
        files = sum(made.inode.file_id in self._left_out for made in self._listed.plan.files)
        done = self._state.done
        done.files, done.names = done.files + files, done.names + len(self._left_out)
        return {**self._outcome(differences), "kept": files, "kept_aside": placing.kept_aside}

    def _numbers(self, step: str) -> list[int]:
        return [number for number, name in enumerate(self._steps) if name == step]

    def _list(self, real: bytes) -> Listed:
        """Names and attributes of all that is to be made, as paths below `real`."""
        directories = {ROOT_ID: real}
        made: list[Made] = []
        for _, batch in self._batches(self._numbers("made"), data=False):
            for node in read_nodes("made", batch, directories).values():
                directories[node.file_id] = node.names[0]
                if node.file_id < MADE_UP:
                    made.append(Made(node.names[0], _inode(node, Attributes(DIRECTORY, 0o700, 0, 0, 0, 0))))
        files: list[Made] = []
        batches: dict[int, tuple[int, int]] = {}
        for number in range(int(self._plan.get("listings", 0))):
            batch = self._owning.mapped(self._client.listing(number, self._fingerprint))
            nodes = list(read_nodes(LISTED, batch, directories).values())
            spans = [
                span for topic, told in rows_of(batch, "record", "topic", "payload") for span in _spans(topic, told)
            ]
            if len(spans) != len(nodes):
                raise Malformed(f"a listing has {len(spans)} spans for {len(nodes)} files")
            files += [_made(node) for node in nodes]
            batches |= {node.file_id: span for node, span in zip(nodes, spans, strict=True)}
        others = [
            _made(node)
            for _, batch in self._batches(self._numbers("others"), data=False)
            for node in read_nodes("others", batch, directories).values()
        ]
        return Listed(RestorePlan(real, tuple(made), tuple(files), tuple(others)), directories, batches)

    def _as_wanted(self, place: Beneath, target: int, real: bytes, standing: Standing) -> set[int]:
        """The file_ids of what stands there as it is to be: of files every byte is read and compared."""
        plan = self._listed.plan
        files = {made.inode.file_id: made for made in plan.files if made.target in standing.alike}
        ends: dict[int, int] = {}
        wrong: set[int] = set()
        held = b"/proc/self/fd/%d" % target
        for _, batch in self._batches(sorted(self._batches_with(files)), data=False):
            for node in read_nodes("files", batch, self._listed.directories).values():
                if node.file_id not in files or node.file_id in wrong:
                    continue
                path = held + files[node.file_id].target.removeprefix(real)
                if _differs(place, path, node, ends.get(node.file_id, 0)):
                    wrong.add(node.file_id)
                if node.extents:
                    ends[node.file_id] = node.extents[-1].offset + node.extents[-1].length
            self._report("comparing")
        others = {made.inode.file_id for made in plan.others if made.target in standing.alike}
        return (files.keys() - wrong) | others

    def _batches_with(self, files: Iterable[int]) -> set[int]:
        spans = (self._listed.batches[file_id] for file_id in files)
        return {number for first, last in spans for number in range(first, last + 1)}

    def _batches_of(self, left_out: frozenset[int]) -> set[int]:
        """Those that hold something that has to be made."""
        return self._batches_with(file_id for file_id in self._listed.batches if file_id not in left_out)


class Look(Onto):
    """What stands in the way of a restore; nothing is touched."""

    def whole(self) -> dict[str, Any]:
        self._know()
        job = self._job
        real = landing.check(job.target, job.own, job.protected, guarded=job.guarded, empty=False)
        standing = Standing()
        if first_entry(Path(os.fsdecode(real))):
            self._listed = self._list(real)
            standing = survey(self._listed.plan)
            self._refuse(real, standing)
        return {"standing": details(standing)}


def _differs(place: Beneath, path: bytes, node: Node, start: int) -> bool:
    if node.damage:
        return True
    try:
        return next(content_differences(place.held(path), node, start), None) is not None
    except OSError:
        return True


def _made(node: Node) -> Made:
    if node.attributes is None:
        raise Malformed(f"{node.file_id} is listed without its attributes")
    return Made(node.names[0], _inode(node, node.attributes), tuple(node.names[1:]))


def _inode(node: Node, attributes: Attributes) -> Inode:
    return Inode(0, 0, node.file_id, *(getattr(attributes, name) for name in _FIELDS))


_FIELDS = ("type", "mode", "uid", "gid", "size", "mtime_ns", "rdev", "target", "xattrs")


def _spans(topic: bytes, told: bytes) -> list[tuple[int, int]]:
    if topic != b"batches":
        return []
    try:
        return [(int(first), int(last)) for first, last in json.loads(told)]
    except (ValueError, TypeError):
        raise Malformed("the batches of a listing can't be read") from None
