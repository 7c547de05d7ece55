"""Receive a restore in place: change what differs between the mark that was just set and the moment asked for.

Everything is looked at once more before anything is touched; one difference refuses the whole. A file of which anything
is wrong stays as it was. It all may be done twice: who is killed begins again, without the look, over what is done.
Every path is reached from what this host protects without following a link, for others may rename things there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.agent.restore.exchanging import Exchanging
from engine.agent.restore.landing import Before
from engine.agent.restore.readback import content_differences
from engine.agent.restore.receive import read_nodes, rows_of
from engine.agent.restore.restoring import Run
from engine.agent.restore.state import State
from engine.drivers.files import within
from engine.env import durable
from engine.model.errors import BcsError, Refused
from engine.model.events import DIRECTORY, ROOT_ID
from engine.tree.apply import Shortfall, deepest_first, finish, make
from engine.tree.attributes import Attributes, CannotRead, read_attributes
from engine.tree.beneath import Beneath
from engine.tree.instead import GONE, is_as, put, put_link, refuse, take_away
from engine.tree.paths import shown
from engine.tree.readback import differing, is_one
from engine.tree.settle import sync
from engine.wire import turns as wire
from engine.wire.batch import Batch
from engine.wire.turns import Turned

CONFLICTS_NAMED = 5
_BEGUN = b'{"begun": true}'


class InPlace(Run):
    """One try at a plan, where it stands."""

    def whole(self) -> dict[str, Any]:
        plan = self._client.plan()
        self._steps = [step for step, count in plan["steps"] for _ in range(count)]
        self._fingerprint = str(plan["fingerprint"])
        self._state, self._spent = State(Before(False, 0, 0, 0)), 0.0
        self._place = Beneath(self._job.protected)
        self._turns: dict[int, Turned] = {}
        self._wanted: dict[int, Attributes] = {}
        try:
            self._report("checking", at_once=True)
            for _, batch in self._batches(self._numbers(wire.TURNS), data=True):
                self._take(batch)
            self._refuse_strange()
            if not _begun(self._job.state):
                self._check()
                if self._job.state is not None:
                    durable.replace(self._job.state, _BEGUN)
            removed = self._change()
            self._report("syncing", at_once=True)
            self._sync()
            differences = self._looked_at_again() if self._job.verify else []
            return {**self._outcome(differences), "removed": removed}
        finally:
            self._place.forget()

    def _numbers(self, step: str) -> list[int]:
        return [number for number, name in enumerate(self._steps) if name == step]

    def _of(self, *parts: str) -> list[Turned]:
        """The turns of some parts, by path."""
        return sorted((turn for turn in self._turns.values() if turn.part in parts), key=lambda turn: turn.path)

    def _take(self, batch: Batch) -> None:
        columns = ("file_id", "type", "mode", "uid", "gid", "size", "mtime_ns", "rdev", "target", "xattrs")
        for number, letter, *rest in rows_of(batch, "inode", *columns):
            self._wanted[number] = Attributes(chr(letter), *rest)
        for topic, raw in rows_of(batch, "record", "topic", "payload"):
            if topic == wire.TOPIC:
                self._turns |= {turn.number: turn for turn in wire.read(raw)}

    # Before anything is touched.

    def _refuse_strange(self) -> None:
        """Refused for what this host does not protect, or needs itself: no node may have that written to."""
        own = [os.path.realpath(path) for path in self._job.own]
        for turn in self._turns.values():
            for path in (turn.path, turn.target) if turn.target else (turn.path,):
                if self._place.root_of(path) is None:
                    raise Refused(
                        f"{shown(path)} is not below what this host protects: nothing was touched",
                        hint="restore in place what the applied policies protect here, or elsewhere with --to HOST:DIR",
                    )
                if any(within(path, each) for each in own) or (
                    turn.part in (wire.CLEARED, wire.REMOVED) and any(within(each, path) for each in own)
                ):
                    raise Refused(f"{shown(path)} is where this program keeps its own files: nothing was touched")

    def _check(self) -> None:
        conflicts = [turn.path for turn in self._turns.values() if not self._is_as_marked(turn)]
        self._place.forget()
        if conflicts:
            named = ", ".join(shown(path) for path in sorted(conflicts)[:CONFLICTS_NAMED])
            more = f" and {len(conflicts) - CONFLICTS_NAMED} more" if len(conflicts) > CONFLICTS_NAMED else ""
            raise Refused(
                f"changed since the mark that was just set: {named}{more}",
                hint="nothing was touched: stop what writes there and try again",
                details={"conflicts": [shown(path) for path in conflicts[:1000]]},
            )

    def _is_as_marked(self, turn: Turned) -> bool:
        if turn.part == wire.SETTLED:
            return True
        try:
            return is_as(self._place.held(turn.path), turn.left)
        except OSError as error:
            return turn.left is None and error.errno in GONE

    # Changing.

    def _change(self) -> int:
        """Carry out all turns; how many paths were removed. What fails is told and leaves its path as it was."""
        removed = self._remove(wire.CLEARED)
        others = [turn for turn in self._of(wire.MADE) if self._wanted[turn.number].type != "f"]
        for turn in others:
            self._attempt(turn, lambda turn=turn: self._make(turn))  # type: ignore[misc]
        self._contents()
        for turn in self._of(wire.LINKED):
            self._attempt(turn, lambda turn=turn: put_link(*self._both(turn)))  # type: ignore[misc]
        removed += self._remove(wire.REMOVED)
        self._finish([*others, *self._of(wire.REWRITTEN, wire.CHANGED, wire.SETTLED)])
        self._place.forget()
        return removed

    def _remove(self, part: str) -> int:
        found = {turn.path: turn for turn in self._of(part) if turn.left is not None}
        count = 0
        for path in deepest_first(found):
            left = found[path].left
            assert left is not None
            try:
                count += take_away(self._place.held(path), left[0])
            except OSError as error:
                if error.errno not in GONE:
                    self._state.done.failures.append((path, f"not removed: {os.strerror(error.errno or 0)}"))
        self._place.forget()
        return count

    def _make(self, turn: Turned) -> None:
        path, wanted = self._place.held(turn.path), self._wanted[turn.number]
        if wanted.type != DIRECTORY:
            put(path, lambda new: refuse(make(new, wanted)))
        elif not is_as(path, (DIRECTORY, 0, 0)):  # one is there already where this is done again
            refuse(make(path, wanted))

    def _both(self, turn: Turned) -> tuple[bytes, bytes]:
        return self._place.held(turn.target), self._place.held(turn.path)

    def _contents(self) -> None:
        done = self._state.done
        changing = Exchanging(self._place, self._job.name, self._turns, done, self._owning.kept)
        directories = {ROOT_ID: b""}
        try:
            for number, batch in self._batches(sorted([*self._numbers("made"), *self._numbers("files")]), data=True):
                if self._steps[number] == wire.DIRECTORIES:
                    for node in read_nodes(wire.DIRECTORIES, batch, directories).values():
                        directories[node.file_id] = node.names[0]
                else:
                    changing.apply(read_nodes(wire.FILES, batch, directories).values(), batch)
                self._report("writing")
        finally:
            changing.close()
        self._directories = directories

    def _attempt(self, turn: Turned, act: Callable[[], None]) -> None:
        try:
            act()
            self._state.done.names += 1
        except (BcsError, OSError) as error:
            why = error.message if isinstance(error, BcsError) else os.strerror(error.errno or 0)
            self._state.done.failures.append((turn.path, why))

    def _finish(self, turns: Iterable[Turned]) -> None:
        done = self._state.done
        failed = {path for path, _ in done.failures}
        found = {turn.path: turn for turn in turns if turn.path not in failed}
        for path in deepest_first(found):
            try:
                missing = finish(self._place.held(path), self._wanted[found[path].number], self._owning.kept)
                done.shortfalls += [str(Shortfall(path, one.what, one.errno)) for one in missing]
            except OSError as error:
                done.failures.append((path, os.strerror(error.errno or 0)))
            done.names += found[path].part == wire.CHANGED

    def _sync(self) -> None:
        """What was changed is on its disks afterwards."""
        synced: set[int] = set()
        for directory in {os.path.dirname(turn.path) for turn in self._turns.values()}:
            try:
                held = self._place.held(directory + b"/x").removesuffix(b"/x")
            except OSError:
                continue  # it has gone, or lies above what is protected
            device = os.stat(held).st_dev
            if device not in synced:
                synced.add(device)
                sync(held + b"/.")

    # Reading back.

    def _looked_at_again(self) -> list[tuple[bytes, str]]:
        done = self._state.done
        failed = {path for path, _ in done.failures}
        found: list[tuple[bytes, str]] = []
        for turn in self._of(wire.MADE, wire.REWRITTEN, wire.CHANGED, wire.LINKED):
            if turn.path not in failed:
                found += [(turn.path, what) for what in self._attributes_differ(turn)]
        ends: dict[int, int] = {}
        for _, batch in self._batches(self._numbers(wire.CHECKED), data=False):
            for node in read_nodes(wire.FILES, batch, self._directories).values():
                turn = self._turns[node.file_id]
                if turn.path in failed:
                    continue
                start = ends.pop(node.file_id, 0)
                if node.attributes is None and node.extents:
                    ends[node.file_id] = node.extents[-1].offset + node.extents[-1].length
                try:
                    differ = content_differences(self._place.held(turn.path), node, start)
                    found += [(turn.path, what) for what in differ]
                except OSError as error:
                    found.append((turn.path, os.strerror(error.errno or 0)))
            self._report("reading back")
        return found

    def _attributes_differ(self, turn: Turned) -> list[str]:
        try:
            if turn.part == wire.LINKED:
                return [] if is_one(*self._both(turn)) else [f"further name of {shown(turn.target)}"]
            excused = any(text.startswith(f"{shown(turn.path)}: ") for text in self._state.done.shortfalls)
            there = read_attributes(self._place.held(turn.path))
            return differing(there, self._wanted[turn.number], excused=excused, owners=self._owning.kept)
        except CannotRead as error:
            return [os.strerror(error.errno)]
        except OSError as error:
            return [os.strerror(error.errno or 0)]


def _begun(state: Path | None) -> bool:
    """Whether an earlier run had looked at everything, and begun to change it."""
    return state is not None and state.exists()
