"""The recoveries on demand of one BCS_HOME: seen, told what to do, begun again after a reboot."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from engine.env import processes
from engine.env.boot import boot_id
from engine.env.clock import SYSTEM, Clock
from engine.fill.base import CANCELLED, FAILED, FILLING, FINISHING, FUSE, LIVING, PREPARING, Place, Recipe
from engine.fill.kept import documents
from engine.fill.kept.documents import Progress, State, Wanted
from engine.fill.life.guarding import guarded
from engine.fill.life.holding import LOCK, being_made
from engine.fill.life.starting import FILLER, HOLDER, ROLE, living, start_supervisor
from engine.fill.tree.conditions import lasting
from engine.model.errors import BcsError, Damaged, Failed, NothingThere, Refused
from engine.model.times import DAY, MINUTE

UP_SECONDS = 60.0
LOOK_SECONDS = 0.01
KEPT = 7 * DAY
"""What was recovered stays listed for so long after its end."""

PAUSED, UNGUARDED, CUT_OFF = "paused", "unguarded", "cut off"


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery as it is now. `guarded` says that a process holds what keeps readers waiting, or that its maker
    lives. `written` are files that were written to while nobody guarded the tree, by the path they had at first."""

    place: Place
    recipe: Recipe
    state: State
    wanted: Wanted
    progress: Progress
    guarded: bool
    written: tuple[str, ...] = ()

    @property
    def living(self) -> bool:
        return self.state.state in LIVING

    @property
    def word(self) -> str:
        """The state for people: as recorded, or PAUSED, or UNGUARDED when nobody holds what has to be held, or
        CUT_OFF when its maker died."""
        if self.living and not self.guarded:
            return CUT_OFF if self.state.state == PREPARING else UNGUARDED
        return PAUSED if self.living and self.wanted.paused and self.state.state != FINISHING else self.state.state

    @property
    def danger(self) -> str:
        """What UNGUARDED means to who reads there, and what to do; empty for any other state."""
        if self.word != UNGUARDED:
            return ""
        resume = f"`bcsctl recover resume {self.recipe.id}`"
        if self.recipe.mechanism == FUSE:
            return f"UNGUARDED: reads fail until {resume}"
        return f"UNGUARDED: reads give zeros where it is not filled: stop the application, then {resume}"

    @property
    def seconds_left(self) -> float | None:
        """At the rate of the last seconds; None when nobody knows, or nobody fills."""
        left = self.progress.bytes_total - self.progress.bytes_filled
        if not self.living or left <= 0:
            return 0.0
        if self.word in (PAUSED, UNGUARDED, CUT_OFF):
            return None
        return left / self.progress.rate_bytes if self.progress.rate_bytes > 0 else None


def recoveries(home: Path) -> list[Recovery]:
    """All that are known, the oldest first."""
    return sorted((look(place) for place in documents.places(home)), key=lambda each: each.recipe.begun_at)


def look(place: Place) -> Recovery:
    return Recovery(
        *(place, documents.read_recipe(place), documents.read_state(place), documents.read_wanted(place)),
        *(documents.read_progress(place), _guarded(place), tuple(documents.read_unguarded(place))),
    )


def unguarded_sources(home: Path) -> list[Recovery]:
    """Those at their source's own place whose trees give zeros, or errors, where they are not filled."""
    return [each for each in recoveries(home) if each.word == UNGUARDED and each.recipe.base == each.recipe.dir]


def clear(home: Path, directory: str) -> None:
    """Take away what a maker who died has left where another tree is to be made."""
    with _one_at_a_time(home):
        _sweep(home, SYSTEM)
        for recovery in recoveries(home):
            if recovery.word == CUT_OFF and recovery.recipe.dir == directory:
                _drop(recovery)


def refuse_filling(home: Path, directory: str) -> None:
    """Refused for the directory of a tree that lives: it is being filled already."""
    for place in documents.places(home):
        try:
            recovery = look(place)
        except Damaged:  # nobody knows whose tree it is; it keeps no other restore from its own place
            continue
        if recovery.living and recovery.recipe.dir == directory:
            id = recovery.recipe.id
            raise Refused(
                f"recovery {id} fills {directory} already, with {recovery.recipe.address} as of "
                f"point:{recovery.recipe.position}",
                hint=f"`bcsctl recover list` shows how far it is, `bcsctl recover finish {id}` waits for the rest, "
                f"`bcsctl recover cancel {id}` removes the tree",
                details={"recovery": id},
            )


def _guarded(place: Place) -> bool:
    return any(living(place, role) is not None for role in (ROLE, FILLER, HOLDER)) or being_made(place)


def meant(home: Path, id: str) -> tuple[str, list[Recovery]]:
    """By an id or the beginning of it: a recovery, ("", [it]), or all of an order, (order, those). NothingThere when
    there is none, or more than one."""
    known = recoveries(home) if id else []
    found = [each for each in known if each.recipe.id.startswith(id)]
    orders = {each.recipe.order for each in known if each.recipe.order.startswith(id)}
    if len(found) + len(orders) != 1:
        what = "several recoveries begin" if found or orders else "no recovery and no order begins"
        raise NothingThere(f"{what} with '{id}'", hint="`bcsctl recover list` shows them")
    if found:
        return "", found
    [order] = orders
    return order, [each for each in known if each.recipe.order == order]


def known(home: Path, id: str) -> bool:
    """Whether a recovery, or an order, of this home begins with it."""
    recipes = [each.recipe for each in recoveries(home)] if id else []
    return any(each.id.startswith(id) or each.order.startswith(id) for each in recipes)


def want(recovery: Recovery, **changes: object) -> Wanted:
    """Ask something else of a recovery that lives. Refused when it has ended."""
    if not recovery.living:
        raise Refused(
            f"recovery {recovery.recipe.id} has ended: {recovery.state.state}",
            hint="`bcsctl recover list` shows those that fill",
        )
    wanted = replace(documents.read_wanted(recovery.place), **changes)  # type: ignore[arg-type]
    documents.write_wanted(recovery.place, wanted)
    return wanted


def begin(place: Place, clock: Clock = SYSTEM) -> None:
    """Start the supervisor of a place that is prepared, and wait until the tree can be used. Failed, with the reason,
    when it can't: then nothing of it is left."""
    start_supervisor(place)
    _await_up(place, clock)


def revive(home: Path, clock: Clock = SYSTEM) -> list[tuple[Recovery, BcsError | None]]:
    """Begin again what nobody guards any more, after a reboot for one; what was only prepared is taken away. Answers
    what was begun again, and why it could not be."""
    with _one_at_a_time(home):
        _sweep(home, clock)
        begun: list[tuple[Recovery, BcsError | None]] = []
        for recovery in recoveries(home):
            if recovery.living and not recovery.guarded:
                if recovery.state.state == PREPARING:
                    _drop(recovery)
                    continue
                try:
                    require_lasting(recovery)
                    begin(recovery.place, clock)
                    begun.append((look(recovery.place), None))
                except BcsError as error:
                    begun.append((recovery, error))
            elif recovery.state.state in (FILLING, FINISHING) and not guarded(recovery.place, recovery.state):
                with suppress(BcsError):  # somebody else has begun it, who says what is wrong
                    _await_up(recovery.place, clock)
            elif not recovery.living and clock.now() - recovery.state.at > KEPT:
                shutil.rmtree(recovery.place.path, ignore_errors=True)
        return begun


def cancel(recovery: Recovery, clock: Clock = SYSTEM) -> State:
    """Take the tree away, with all that was written into it, and end. Failed when that can't be done."""
    if recovery.state.state == PREPARING and not recovery.guarded:
        return _drop(recovery)
    want(recovery, cancel=True, paused=False)
    if not recovery.guarded:
        start_supervisor(recovery.place)
    return await_end(recovery.place, clock)


def await_end(place: Place, clock: Clock = SYSTEM, seconds: float = UP_SECONDS) -> State:
    """Until it has ended and nothing of ours lives."""
    end = clock.monotonic() + seconds
    seen: set[int] = set()  # a supervisor takes its pid file away before it ends
    while True:
        seen |= {pid for role in (ROLE, FILLER, HOLDER) if (pid := living(place, role)) is not None}
        state = documents.read_state(place)
        if state.state not in LIVING and not any(processes.is_alive(pid) for pid in seen):
            return state
        if clock.monotonic() > end:
            raise Failed(f"recovery {place.path.name} does not end", hint=f"see {place.log}")
        clock.sleep(LOOK_SECONDS)


def refuse_while_filling(home: Path) -> None:
    """Refused while a tree needs its filler: without that its readers wait, and without its supervisor read zeros."""
    filling = [each for each in recoveries(home) if each.living]
    if filling:
        first = filling[0]
        raise Refused(
            f"recovery {first.recipe.id} still fills {first.recipe.dir}",
            hint=f"`bcsctl recover finish {first.recipe.id}` fills the rest, `recover cancel` removes the tree",
            details={"recoveries": [each.recipe.id for each in filling]},
        )


def require_lasting(recovery: Recovery) -> None:
    """Refused after a reboot where the file system does not tell what had been filled before it."""
    boot = boot_id()
    if recovery.recipe.lasting:
        with suppress(Refused, OSError):  # a cover or a dead mount lies there: the mechanism sees to it then
            lasting(os.fsencode(recovery.recipe.dir))  # ext4's setting is gone with the mount
    elif recovery.state.guard.partition(":")[0] != boot:
        raise Refused(
            f"after the reboot nobody knows what of {recovery.recipe.dir} had been filled",
            hint=f"`bcsctl recover cancel {recovery.recipe.id}` removes it; restore it once more",
        )


def _await_up(place: Place, clock: Clock) -> None:
    end = clock.monotonic() + UP_SECONDS
    while True:
        state = documents.read_state(place)
        supervisor = living(place, ROLE)
        if state.state == FAILED:
            raise Failed(f"the tree can't be guarded: {state.error}", hint=state.hint)
        if state.state != PREPARING and state.guard and supervisor is not None and guarded(place, state):
            return
        if state.state not in LIVING:
            return  # all there was to fill is filled
        if supervisor is None:
            raise Failed(f"the supervisor of {place.path.name} ended: {_last_line(place)}", hint=f"see {place.log}")
        if clock.monotonic() > end:
            raise Failed(f"{place.path.name} did not come up in {UP_SECONDS:.0f} s", hint=f"see {place.log}")
        clock.sleep(LOOK_SECONDS)


def _drop(recovery: Recovery) -> State:
    """Take away what was being made when its maker died; nobody could reach it."""
    shutil.rmtree(recovery.recipe.hidden, ignore_errors=True)
    if recovery.recipe.made_dir:
        try:
            os.rmdir(recovery.recipe.dir)
        except FileNotFoundError:
            pass
        except OSError:  # others have put something there
            with suppress(OSError):
                _open_to_others(recovery.recipe.dir)
    shutil.rmtree(recovery.place.supply, ignore_errors=True)
    state = State(CANCELLED, error="it was being made when its maker died")
    documents.write_state(recovery.place, state)
    return state


def _sweep(home: Path, clock: Clock) -> None:
    """Take away the places of makers who died before they had begun a tree: no recipe, and nothing but what a place is
    furnished with. One that is young may not have been locked yet."""
    root = home / documents.RECOVERIES
    for path in root.iterdir() if root.is_dir() else ():
        place = Place(path)
        furniture = {place.mechanism.name, place.supply.name, place.holes.name, LOCK}
        with suppress(OSError):
            young = clock.now() - path.stat().st_mtime_ns // 1000 < MINUTE
            if not young and set(os.listdir(path)) <= furniture and not being_made(place):
                shutil.rmtree(path)


def _open_to_others(directory: str) -> None:
    """It was shut for the time of the making: now as a directory is made."""
    if stat.S_IMODE(os.stat(directory).st_mode) == 0o700:
        mask = os.umask(0o077)
        os.umask(mask)
        os.chmod(directory, 0o777 & ~mask)


def _last_line(place: Place) -> str:
    try:
        lines = place.log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "it said nothing"


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    root = home / documents.RECOVERIES
    if not root.is_dir():
        yield
        return
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
