"""Receive a restore from a node into a directory of this machine, from the first look at it to the last word on it.

What the node was told last is what it knows; what was applied is noted on disk, if there is a place for it, so that
whoever is killed goes on there, and a node that starts again finds us asking for the next batch.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.agent.restore import landing
from engine.agent.restore import state as restore_state
from engine.agent.restore.client import RestoreClient, Stopped
from engine.agent.restore.landing import Landing
from engine.agent.restore.owning import Owning, owning_of
from engine.agent.restore.readback import ReadBack
from engine.agent.restore.receive import Done, Receiver
from engine.agent.restore.state import State
from engine.env.clock import SYSTEM, Clock
from engine.env.processes import is_root
from engine.model.errors import BcsError, Failed, Refused
from engine.tree.paths import failures_json
from engine.tree.settle import sync
from engine.wire.batch import Batch

AHEAD = 3
"""So many batches are asked for before they are needed."""
FETCHERS = 2
TELL_SECONDS = 0.3
BUSY_SECONDS = 5.0
"""How often the node hears of something that has no steps."""
SAVE_SECONDS, SAVE_SHARE = 1.0, 20
"""How often it is noted how far we are. Where much failed there is much to note: it takes one part in SAVE_SHARE."""
OPEN = "open"
REPLANNED = "replanned"
"""What a node answers that has worked out another plan since it started again: the same tree in other batches."""
LISTED_MAX = 2_000
"""Failures and shortfalls are listed up to this many each; all are counted."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is received where. `own` and `protected` are paths that it must not touch, `state` the file in which is
    noted how far it is (none: it can't be resumed); `guarded` keeps it out of the system's own directories; by `name`
    what lies about of this restore is known. `home` is the agent's; `how` what else was asked for, by its errand."""

    target: bytes
    verify: bool
    own: Sequence[bytes] = ()
    protected: Sequence[bytes] = ()
    state: Path | None = None
    guarded: bool = True
    name: str = ""
    home: Path | None = None
    how: Mapping[str, Any] = field(default_factory=dict)


class Untold(Failed):
    """The node does not know how a restore ended."""

    code = "untold"


Tell = Callable[[str, Done], None]
"""Called often with what is being done (`writing`, `syncing`, `reading back`) and what is done."""


def receive(
    client: RestoreClient,
    job: Job,
    stopping: threading.Event,
    tell: Tell = lambda phase, done: None,
    clock: Clock = SYSTEM,
    run: Callable[..., Run] | None = None,
) -> dict[str, Any]:
    """Carry it out, as `run` does it (Run by default); the outcome as the node has been told it. Every error is told to
    the node, with what was done by then, and then raised.

    Stopped when the restore was cancelled, or `stopping` was set: then what was written stays. Untold when the node
    would not hear how it ended.
    """
    tries: list[Run] = []
    try:
        outcome = _carried_out(lambda: (run or Run)(client, job, stopping, tell, clock), tries)
    except Stopped:
        raise
    except Exception as error:  # what nobody thought of does not go away by another try either
        told = error if isinstance(error, BcsError) else Failed(f"the restore broke off: {_named(error)}")
        _tell_end(client, {**told.as_json(), "done": tries[-1].so_far() if tries else {}})
        raise told from (None if isinstance(error, BcsError | OSError) else error)
    _tell_end(client, {"outcome": outcome})
    return outcome


def _tell_end(client: RestoreClient, end: dict[str, Any]) -> None:
    try:
        client.progress(end)
    except Stopped:
        raise
    except BcsError as error:
        raise Untold(f"the node does not hear how the restore ended: {error.message}", hint=error.hint) from None


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _carried_out(begun: Callable[[], Run], tries: list[Run]) -> dict[str, Any]:
    while True:
        try:
            tries.append(begun())
            return tries[-1].whole()
        except Refused as error:
            state = error.details.get("state")
            if state is None:
                raise
            if state != REPLANNED:
                raise Stopped(error.message) from None


class Run:
    """One try at a plan, into a directory."""

    def __init__(self, client: RestoreClient, job: Job, stopping: threading.Event, tell: Tell, clock: Clock) -> None:
        self._client, self._job, self._stopping, self._clock = client, job, stopping, clock
        self._tell = tell
        self._began = clock.monotonic()
        self._told_at = self._saved_at = clock.monotonic() - 60
        self._save_every = SAVE_SECONDS
        self._spent = 0.0
        self._owning = Owning(is_root())
        self._left_out: frozenset[int] = frozenset()
        """The file_ids of what is there already; and the batches that hold something else, None for all."""
        self._needed: Set[int] | None = None
        self._threads = max(1, os.cpu_count() or 1)

    def whole(self) -> dict[str, Any]:
        self._know()
        known = restore_state.load(self._job.state) if self._job.state is not None else None
        job, looked = self._job, None
        if known is None:
            looked = landing.check(job.target, job.own, job.protected, guarded=job.guarded)
        held = landing.take(job.target, known.before if known else None, looked)
        try:
            self._state = known if known is not None else State(held.before)
            self._begin_plan()
            return self._outcome(self._into(held))
        finally:
            landing.give_back(held, self._state.done.attributes_set)

    def so_far(self) -> dict[str, Any]:
        """What was done, if it ends now."""
        state = getattr(self, "_state", None)
        if state is None:
            return {}
        done = state.done
        counts = {"files": done.files, "names": done.names, "bytes": done.bytes_written}
        return {**counts, "seconds": round(self._seconds(), 3), "failures_count": len(done.failures)}

    def _know(self) -> None:
        """Ask for the plan."""
        self._plan = self._client.plan()
        self._steps = [step for step, count in self._plan["steps"] for _ in range(count)]
        self._fingerprint = str(self._plan["fingerprint"])
        self._owning = owning_of(self._plan.get("owners"))

    def _begin_plan(self) -> None:
        """What was noted counts for the plan that it was noted for; another one begins at its beginning."""
        if self._state.fingerprint != self._fingerprint:
            self._state = State(self._state.before, self._fingerprint)
        self._spent = self._state.seconds
        self._save(at_once=True)

    def _into(self, held: Landing) -> list[tuple[bytes, str]]:
        """Write it there; what differs once it is read back."""
        receiver = Receiver(held, self._state.done, self._owning.kept, self._threads)
        receiver.left_out = self._left_out
        try:
            self._write(receiver)
        finally:
            receiver.close()
        self._report("syncing", at_once=True)
        sync(held.held)
        return self._read_back(held, receiver.directories) if self._job.verify else []

    def _write(self, receiver: Receiver) -> None:
        again = [number for number in range(self._state.next) if self._steps[number] == "made"]
        rest = (number for number in range(self._state.next, len(self._steps)) if self._is_needed(number))
        for number, batch in self._batches([*again, *rest], data=True):
            receiver.apply(self._steps[number], batch, again=number < self._state.next)
            if number >= self._state.next:
                self._state.next = number + 1
                self._save(at_once=False)
            self._report("writing")
        self._save(at_once=True)

    def _read_back(self, held: Landing, directories: dict[int, bytes]) -> list[tuple[bytes, str]]:
        looking = ReadBack(held, directories, self._state.done, self._owning.kept, self._threads, self._left_out)
        try:
            numbers = [number for number, step in enumerate(self._steps) if step != "made" and self._is_needed(number)]
            for number, batch in self._batches(numbers, data=False):
                looking.compare(self._steps[number], batch)
                self._report("reading back")
        finally:
            looking.close()
        return looking.differences

    def _is_needed(self, number: int) -> bool:
        return self._needed is None or self._steps[number] != "files" or number in self._needed

    def _batches(self, numbers: Sequence[int], *, data: bool) -> Iterator[tuple[int, Batch]]:
        """The batches in this order, the next ones being fetched meanwhile."""
        coming: deque[tuple[int, Future[Batch]]] = deque()
        rest = iter(numbers)
        pool = ThreadPoolExecutor(FETCHERS, "fetch")
        try:
            while True:
                while len(coming) < AHEAD and (number := next(rest, None)) is not None:
                    coming.append((number, pool.submit(self._client.batch, number, self._fingerprint, data=data)))
                if not coming:
                    return
                number, batch = coming.popleft()
                yield number, self._owning.mapped(batch.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _report(self, phase: str, *, at_once: bool = False) -> None:
        """Say how far it is, to whoever looks here and to the node. Stopped when the node says that it is over."""
        if self._stopping.is_set():
            raise Stopped("the restore was stopped")
        now = self._clock.monotonic()
        if not at_once and now - self._told_at < TELL_SECONDS:
            return
        self._told_at = now
        done = self._state.done
        self._tell(phase, done)
        told = {"phase": phase, "files": done.files, "bytes": done.bytes_written, "seconds": self._seconds()}
        if self._client.progress(told) != OPEN:
            raise Stopped("the restore is over")

    @contextmanager
    def _busy(self, phase: str) -> Iterator[None]:
        """Within it, whatever takes long, the node goes on hearing that something is being done."""
        over = threading.Event()
        told = {**self.so_far(), "phase": phase}

        def tell() -> None:
            with suppress(BcsError):
                self._client.progress(told)
                while not over.wait(BUSY_SECONDS):
                    self._client.progress(told)

        telling = threading.Thread(target=tell, name="telling", daemon=True)
        telling.start()
        try:
            yield
        finally:
            over.set()

    def _save(self, *, at_once: bool) -> None:
        now = self._clock.monotonic()
        if self._job.state is not None and (at_once or now - self._saved_at >= self._save_every):
            self._state.seconds = self._seconds()
            restore_state.save(self._job.state, self._state)
            self._saved_at = self._clock.monotonic()
            self._save_every = max(SAVE_SECONDS, SAVE_SHARE * (self._saved_at - now))

    def _seconds(self) -> float:
        return self._spent + self._clock.monotonic() - self._began

    def _outcome(self, differences: Sequence[tuple[bytes, str]]) -> dict[str, Any]:
        done = self._state.done
        failures = failures_json(done.failures, differences)
        return {
            "files": done.files,
            "names": done.names,
            "bytes": done.bytes_written,
            "seconds": round(self._seconds(), 3),
            "verified": not failures,
            "read_back": self._job.verify,
            "failures": failures[:LISTED_MAX],
            "shortfalls": list(done.shortfalls[:LISTED_MAX]),
            "failures_count": len(failures),
            "shortfalls_count": len(done.shortfalls),
            "damaged": done.damaged or bool(differences),
        }
