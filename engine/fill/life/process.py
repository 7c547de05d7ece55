"""The filler: a process that guards the tree, answers who reads, fills the rest, and takes itself away in the end.

It may be killed at any moment: the supervisor holds what keeps readers waiting, and starts another one, which goes on
from the map.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from engine.env import processes
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import (
    BLOCK_BYTES,
    FAILED,
    FILLING,
    FINISHING,
    PREPARING,
    ColdFile,
    Mechanism,
    Place,
    Recipe,
    Supply,
)
from engine.fill.flow import order
from engine.fill.flow.background import Background
from engine.fill.flow.filling import Filling
from engine.fill.flow.suspects import Suspects
from engine.fill.kept import documents, rebuild, table
from engine.fill.kept.documents import Progress, State
from engine.fill.kept.map import Map
from engine.fill.kept.sizes import Sizes
from engine.fill.kept.times import Times
from engine.fill.life.starting import NEVER_CAME_UP, WHOLE, WITHDRAWN, module_of, start_supervisor
from engine.fill.tree import exposing
from engine.fill.tree.privileges import give_again, is_roots_own
from engine.model.errors import BcsError
from engine.tree.apply import finish
from engine.tree.attributes import Attributes

LOOK_SECONDS = 0.1
TELL_SECONDS = 1.0
AGAIN_SECONDS = 30.0
"""What was damaged is tried again so often: somebody may have repaired the journal."""
AHEAD_THREADS = 2
SWITCH_SECONDS = 0.0005
"""So long a thread of ours computes before another one that answers a reader has its turn; Python's own 5 ms add up."""


def main(
    arguments: Sequence[str],
    supply_of: Callable[[Place, Recipe], Supply],
    whole: Callable[[Place, Recipe], None] = lambda place, recipe: None,
) -> int:
    """The filler's command line, for the modules that have a supply; `whole` is called when all of it is there."""
    parser = argparse.ArgumentParser("filler")
    parser.add_argument("--role", required=True, choices=["filler"])
    parser.add_argument("--place", required=True, type=Path)
    parser.add_argument("--fd", required=True, type=int)
    parser.add_argument("--guard", required=True)
    parser.add_argument("--parent", required=True, type=int)
    asked = parser.parse_args(arguments)
    sys.setswitchinterval(SWITCH_SECONDS)
    place = Place(asked.place)
    recipe = documents.read_recipe(place)
    code = run(place, recipe, asked.fd, asked.guard, asked.parent, supply_of(place, recipe))
    if code == WHOLE:
        whole(place, recipe)
    return code


def run(
    place: Place, recipe: Recipe, fd: int, guard: str, supervisor: int, supply: Supply, clock: Clock = SYSTEM
) -> int:
    """Fill until all is there or it is cancelled; the exit code. `guard` is the life (documents.State) of the
    supervisor whose pid is `supervisor`: it may be gone by now."""
    processes.write_pid_file(place.pid("filler"))
    began = documents.read_state(place)
    try:
        filling = _begin(place, recipe, fd, guard, began, supply, clock)
    except (OSError, BcsError) as error:
        if began.state != PREPARING:
            raise
        message, hint = (error.message, error.hint) if isinstance(error, BcsError) else (str(error), f"see {place.log}")
        traceback.print_exc()
        documents.write_state(place, State(FAILED, error=message, hint=hint))
        return NEVER_CAME_UP
    gc.freeze()  # a large tree's table of files is for ever: it would be looked through again and again
    for _ in range(AHEAD_THREADS):
        threading.Thread(target=filling.ahead.run, name="ahead", daemon=True).start()
    return _Work(place, recipe, filling, supply, clock).until_the_end(supervisor, fd, guard)


def _begin(place: Place, recipe: Recipe, fd: int, guard: str, began: State, supply: Supply, clock: Clock) -> Filling:
    """Guard the tree, serve it, let it be reached: in this order."""
    map = Map(place.map, writing=True)
    sizes = Sizes(place.sizes)
    files = table.read(place.files)
    times = Times(place.times)
    filling = Filling(files, map, sizes, supply, recipe.away_seconds, clock, times)
    mechanism = module_of(recipe).attach(place, recipe, fd, filling)
    filling.mechanism = mechanism
    believed = began.guard.partition(":")[0] == guard.partition(":")[0]
    if began.guard not in ("", guard):
        if _moved(place, files, mechanism):
            filling.find_anew()
        _map_anew(place, files, map, sizes, mechanism, believed)
    put_back(times, mechanism, guarded=began.guard == guard, rebooted=not believed)
    suspects = Suspects(rebuild.read_suspects(place.mixed), lambda file: documents.note_unguarded(place, file.path))
    filling.count(rebuild.read_mixed(place.mixed), suspects)
    mechanism.guard()
    mechanism.serve()
    mechanism.expose()
    if began.state == PREPARING:
        _finish_root(place, recipe)
    module_of(recipe).uncover(place, recipe)
    mechanism.expose()  # what lay under a cover
    if began.guard != guard:
        documents.write_state(place, State(FILLING if began.state == PREPARING else began.state, guard=guard))
    return filling


def _moved(place: Place, files: list[ColdFile], mechanism: Mechanism) -> bool:
    """Whether the tree's device has another number than when it was made, as it may have after a reboot: then the table
    is written anew. By the old one no file would be known, and none be filled."""
    device = next((found for file in files if (found := _device_of(file, mechanism)) is not None), None)
    if device is None or device == files[0].dev:
        return False
    files[:] = [replace(file, dev=device) for file in files]
    table.write(place.files, files)
    return True


def _device_of(file: ColdFile, mechanism: Mechanism) -> int | None:
    try:
        fd = mechanism.open(file.number)
    except OSError:
        return None  # it is gone
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def _map_anew(
    place: Place, files: Sequence[ColdFile], map: Map, sizes: Sizes, mechanism: Mechanism, believed: bool
) -> None:
    """Nobody guarded the tree for a while: see engine.fill.kept.rebuild."""
    mixed, suspects = rebuild.read_mixed(place.mixed), rebuild.read_suspects(place.mixed)
    found = rebuild.rebuild(files, map, sizes, lambda file: mechanism.open(file.number), believed)
    if believed:
        suspects |= rebuild.suspects_of(found, mixed)
    else:
        for number in {number for number, _ in suspects}:  # what is filled by now nobody can tell any more
            documents.note_unguarded(place, files[number].path)
        suspects = set()
    rebuild.write_mixed(place.mixed, mixed | found, suspects)


def put_back(times: Times, mechanism: Mechanism, *, guarded: bool, rebooted: bool) -> None:
    """Files that a former filler left with a fill's time, or without their privileges, get their own back, before
    anybody is served. Where nobody guarded the tree since, or a file was cut, the time may be that of a write: it
    stays. So do privileges, unless the machine was down since and nobody but root can have written there."""
    for each in times.left:
        if not guarded and not (rebooted and each.privileges):
            continue
        try:
            fd = mechanism.open(each.number)
        except OSError:
            continue  # it is gone
        try:
            now = os.fstat(fd)
            if now.st_size != each.size:
                continue
            if guarded or is_roots_own(now):
                give_again(fd, each.privileges)
            if guarded:
                os.utime(fd, ns=(now.st_atime_ns, each.mtime_ns))
        finally:
            os.close(fd)
    times.put_back()


def _finish_root(place: Place, recipe: Recipe) -> None:
    root = documents.read_root(place)
    if root is not None:
        attributes = Attributes("d", root.mode, root.uid, root.gid, 0, root.mtime_ns, xattrs=bytes.fromhex(root.xattrs))
        finish(os.fsencode(recipe.dir), attributes, processes.is_root())


class _Work:
    """What goes on once readers are served: the background, what is wanted, telling how far it is."""

    def __init__(self, place: Place, recipe: Recipe, filling: Filling, supply: Supply, clock: Clock) -> None:
        self._place, self._recipe, self._filling, self._supply, self._clock = place, recipe, filling, supply, clock
        self._mechanism: Mechanism = filling.mechanism
        self._background = Background(filling, recipe.rate_bytes, clock)
        self._wanted_at = 0
        self._told_at = -TELL_SECONDS
        self._filled: list[tuple[float, int]] = []
        self._holds: list[str] = []
        holes = documents.read_holes(place)
        self._holes = {file.number: holes[file.file_id] for file in filling.files() if file.file_id in holes}
        self._wanted = documents.Wanted()

    def until_the_end(self, supervisor: int, fd: int, guard: str) -> int:
        self._look()  # one that was paused begins paused
        worker = threading.Thread(target=self._fill_all, daemon=True)
        worker.start()
        while self._filling.files_left or not self._background.done.is_set():  # done but for what is damaged
            self._look()
            self._tell()
            if self._wanted.cancel:
                return self._cancel()
            if os.getppid() != supervisor:
                self._hand_over(fd, guard)
            self._clock.sleep(LOOK_SECONDS)
        documents.write_state(self._place, State(FINISHING, guard=guard))
        while True:
            if os.getppid() != supervisor:
                self._hand_over(fd, guard)  # somebody has to note the end
            self._holds = self._mechanism.finish()
            self._tell(now=True)
            if not self._holds:
                break
            self._look()
            if self._wanted.cancel:
                return self._cancel()
            self._clock.sleep(TELL_SECONDS)
        self._mechanism.close()
        self._supply.close()
        return WHOLE

    def _fill_all(self) -> None:
        """The background's thread: all files, the hot ones first; what is damaged again and again."""
        heat: dict[int, tuple[int, int]] = {}
        try:
            heat = self._supply.heat()
        except Exception:  # whatever it is: the rest has to come, in any order then
            traceback.print_exc()
        numbers = order.order(self._filling.files(), heat, self._recipe.point_at)
        while not self._background.stopped:
            self._background.run(numbers)
            if not self._filling.files_left:
                return
            self._background.done.clear()
            self._clock.sleep(AGAIN_SECONDS)

    def _look(self) -> None:
        """See what is wanted, when it has changed."""
        try:
            at = os.stat(self._place.wanted).st_mtime_ns
        except FileNotFoundError:
            at = 0
        if at == self._wanted_at:
            return
        self._wanted_at, self._wanted = at, documents.read_wanted(self._place)
        rate = self._wanted.rate_bytes
        self._background.rate_bytes = self._recipe.rate_bytes if rate is None else rate
        self._background.paused, self._background.urgent = self._wanted.paused, self._wanted.finish

    def _tell(self, now: bool = False) -> None:
        at = self._clock.monotonic()
        if at - self._told_at < TELL_SECONDS and not now:
            return
        self._told_at = at
        files = self._filling.files()
        total = self._recipe.bytes
        filled = max(0, total - self._data_left())
        self._filled = [*self._filled[-5:], (at, filled)]
        seconds = at - self._filled[0][0]
        rate = round((filled - self._filled[0][1]) / seconds) if seconds > 0 else 0
        damaged = [os.fsdecode(files[number].path) for number in sorted(self._filling.damaged)[:100]]
        documents.write_progress(
            self._place,
            Progress(
                *(self._clock.now(), filled, total, max(0, rate), self._filling.files_left, self._filling.waiting),
                *(self._filling.away, damaged, self._holds),
            ),
        )

    def _data_left(self) -> int:
        """Bytes; a file's holes, which come last, are not counted."""
        left = self._filling.blocks_left * BLOCK_BYTES
        return left - sum(min(self._filling.left[file] * BLOCK_BYTES, count) for file, count in self._holes.items())

    def _cancel(self) -> int:
        """Nobody comes in any more; what is still cold ends at once, for those who have it open; all of it goes."""
        self._background.stopped = True
        self._filling.refuse()
        tree = self._mechanism.withdraw()
        for file in self._filling.files():
            if not self._filling.is_whole(file.number):
                self._cut(file.number)
        exposing.empty(tree)
        os.close(tree)
        self._filling.stop()
        return WITHDRAWN

    def _cut(self, number: int) -> None:
        """A file that is removed with cold bytes in it is empty for those who still have it open, and not zeros."""
        try:
            fd = self._mechanism.open(number)
        except OSError:
            return  # gone already
        try:
            os.ftruncate(fd, 0)
        finally:
            os.close(fd)

    def _hand_over(self, fd: int, guard: str) -> NoReturn:
        """The supervisor has died. What it held we hold too: another one gets it, and starts another filler."""
        start_supervisor(self._place, held=fd, guard=guard)
        sys.stdout.flush()
        os._exit(0)  # at once, in the middle of whatever is answered: the next one is told what was left
