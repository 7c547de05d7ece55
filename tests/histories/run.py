"""A history is lived: a real node, a real agent, processes that change the tree, and quiet moments that are noted.

Workers perform their operations in bursts; after each burst the run waits until the product says that all of it is
kept, digests the tree and notes the time. `without_pause` waits at the end alone. Kills and stops of the agent and the
node come at moments that the seed gives.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.embedded import Site
from tests.histories.digest import Digest, digest
from tests.histories.operations import EXCLUDED, operations, visible
from tests.histories.passed import Passed, Recorder

ADDRESS = "histories/localhost/files"
SETTLED_SECONDS = 180.0
ASKED_AGAIN_MICROSECONDS = 5_000_000
OPERATION_PAUSES = (0.0, 0.0, 0.0005, 0.001, 0.002)
PAUSE_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a seed is lived. `troubles` are among TROUBLES; `environment` is the site's (BCS_WATCH, BCS_RANGES).

    `gaps`: something in the site itself makes gaps right.
    """

    seed: int
    count: int = 10_000
    workers: int = 2
    bursts: int = 12
    without_pause: bool = False
    troubles: tuple[str, ...] = ()
    large_bytes: int = 5 << 20
    gaps: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def links_out(self) -> bool:
        """Only a mark on the whole file system sees links to the outside, and what is written through them."""
        return self.environment.get("BCS_WATCH", "fanotify") == "fanotify" and os.geteuid() == 0

    @property
    def blind(self) -> bool:
        """Whether the agent sees no events, so that it looks when it is asked to and else rarely."""
        return self.environment.get("BCS_WATCH") == "scan"

    @property
    def arguments(self) -> str:
        """What `make soak` is to be given to live it again."""
        said = [f"--seed {self.seed} --count {self.count} --workers {self.workers} --bursts {self.bursts}"]
        said += ["--without-pause"] if self.without_pause else []
        said += [f"--trouble {each}" for each in self.troubles]
        said += [f"--large-bytes {self.large_bytes}"]
        named = {"BCS_WATCH": "--watch", "BCS_RANGES": "--ranges"}
        said += [f"{named[name]} {value}" for name, value in self.environment.items() if name in named]
        return " ".join(said)


@dataclass(slots=True)
class Lived:
    """What is known of a run, all times in microseconds of the wall clock. `moments` are (time, the tree then).

    `skews` are (time, how far the wall clock was ahead of the site's): an agent measures the site's time, and a busy
    machine lets it measure by some milliseconds wrong.
    """

    home: Path
    moments: list[tuple[int, Digest]] = field(default_factory=list)
    passed: dict[str, Passed] = field(default_factory=dict)
    skews: list[tuple[int, int]] = field(default_factory=list)
    began: int = 0
    ended: int = 0
    failed: int = 0
    troubles: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def skews_near(self, at: int) -> list[int]:
        """The skews noted last before a time and first after it."""
        after = bisect_left(self.skews, (at, 0))
        return [skew for _, skew in self.skews[max(after - 1, 0) : after + 1]] or [0]


def now() -> int:
    return time.time_ns() // 1000


def live(base: Path, plan: Plan, site: Site) -> Lived:
    """Live a plan below `base` on a site that hasn't begun. Raises AssertionError when the site does not settle."""
    lived = Lived(site.home)
    for name in ("tree", "outside"):
        (base / name).mkdir(parents=True)
    workers = [Worker(base, plan, number) for number in range(plan.workers)]
    source = random.Random(f"run {plan.seed}")
    with site:
        try:
            _each(workers, ("go", 60, 0.0))
            site.start()
            site.protect(ADDRESS, base / "tree", exclude=EXCLUDED)
            site.wait_protected(ADDRESS)
            lived.began = now()
            for number, share in enumerate(_shares(plan, source)):
                _begin(workers, ("go", share, source.choice(OPERATION_PAUSES)))
                if plan.troubles:
                    lived.troubles.append(_trouble(site, source, plan.troubles, number))
                _ended(workers)
                if not plan.without_pause or number == plan.bursts - 1:
                    _compare_notes(note_kept(site, base, lived, blind=plan.blind), workers, lived)
            lived.ended = now()
        finally:
            for worker in workers:
                worker.end(lived)
    return lived


def _shares(plan: Plan, source: random.Random) -> list[int]:
    """How many operations a worker performs in each burst."""
    left = plan.count // plan.workers - 60
    cuts = sorted(source.randrange(left) for _ in range(plan.bursts - 1))
    return [b - a for a, b in zip([0, *cuts], [*cuts, left], strict=True)]


def note_kept(site: Site, base: Path, lived: Lived, *, blind: bool = False) -> Digest:
    """Wait until the site says that all that has happened is kept, then note what is there. An agent that is `blind`
    is asked for a bookmark, which makes it look at everything: again and again, since one that has just started does
    not take those of the time before."""
    since, ask_at = now(), 0

    def kept() -> bool:
        nonlocal ask_at
        if blind and now() >= ask_at:
            ask_at = now() + ASKED_AGAIN_MICROSECONDS
            body = {"group": ADDRESS.partition("/")[0], "label": f"looked-at-{now()}"}
            site.request("POST", "/v1/marks", body)
        return kept_until(site)[0] >= since

    site.wait(kept, SETTLED_SECONDS, "everything to be acknowledged")
    seen = note(base, lived)
    lived.skews.append((now(), kept_until(site)[1]))
    return seen


def note(base: Path, lived: Lived) -> Digest:
    """Note what is there now."""
    seen = digest(str(base / "tree"), lambda path, is_directory: visible(f"tree/{path}", is_directory))
    lived.moments.append((now(), seen))
    return seen


def _compare_notes(seen: Digest, workers: Sequence[Worker], lived: Lived) -> None:
    """What the workers noted of each path, and what an independent look at the whole tree found, must be one."""
    noted = {path: state for worker in workers for path, state in worker.ask(("shown",)).items()}
    found = {f"tree/{path}": state for path, state in seen.states.items() if path != "."}
    lived.wrong += [f"{path!r} was noted otherwise" for path in {*noted, *found} if noted.get(path) != found.get(path)]


def kept_until(site: Site) -> tuple[int, int]:
    """(up to when the node says that all is kept, 0 while it does not call the source protected; the clock's skew)."""
    status = site.request("GET", "/v1/status")
    (row,) = [row for group in status["groups"] for row in group["sources"] if row["address"] == ADDRESS]
    (host,) = status["hosts"]
    text, skew = row["through_at"], host["clock_skew_seconds"]
    if row["protected"] != "protected" or not text or skew is None:
        return 0, 0
    return int(datetime.fromisoformat(text).timestamp() * 1e6) + int(skew * 1e6), int(skew * 1e6)


def _trouble(site: Site, source: random.Random, kinds: Sequence[str], number: int) -> str:
    kind = source.choice([*kinds, ""])
    if not kind:
        return ""
    time.sleep(source.uniform(0, 0.3))
    TROUBLES[kind](site, source)
    return f"{kind} in burst {number}"


def _agent_killed(site: Site, source: random.Random) -> None:
    site.kill("agent")
    time.sleep(source.choice([0.0, 0.3]))
    site.start_agent()


def _node_killed(site: Site, source: random.Random) -> None:
    site.kill("node")
    time.sleep(source.choice([0.0, 0.3]))
    site.start_node()


def _both_killed(site: Site, source: random.Random) -> None:
    site.kill("node")
    site.kill("agent")
    site.start_agent() if source.random() < 0.5 else None
    site.start_node()
    if site.agent is None:
        site.start_agent()


def _stopped(name: str) -> Callable[[Site, random.Random], None]:
    """The process stands still for a while, as in a network that swallows all, or on a machine that hangs."""

    def act(site: Site, source: random.Random) -> None:
        process = getattr(site, name)
        process.send_signal(signal.SIGSTOP)
        time.sleep(source.uniform(0.1, PAUSE_SECONDS_MAX))
        process.send_signal(signal.SIGCONT)

    return act


TROUBLES: dict[str, Callable[[Site, random.Random], None]] = {
    "agent-killed": _agent_killed,
    "node-killed": _node_killed,
    "both-killed": _both_killed,
    "node-stopped": _stopped("node"),
    "agent-stopped": _stopped("agent"),
}
MISSING = ("agent-killed", "both-killed")
"""Troubles after which changes may have been missed for a while, so that a gap is right."""


class Worker:
    """A process that performs one part of a seed's operations when it is told to."""

    def __init__(self, base: Path, plan: Plan, number: int) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, str(base), plan, number)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, what: tuple[Any, ...]) -> None:
        self._pipe.send(what)

    def answer(self) -> Any:
        return self._pipe.recv()

    def ask(self, what: tuple[Any, ...]) -> Any:
        self.tell(what)
        return self.answer()

    def end(self, lived: Lived) -> None:
        """Take what it noted, and end it. One that has died says so by what is missing."""
        try:
            passed, failed = self.ask(("end",))
            lived.passed.update(passed)
            lived.failed += failed
        except (EOFError, BrokenPipeError) as error:
            lived.wrong.append(f"a worker died: {error!r}")
        self._process.join(120)
        self._pipe.close()


def _work(pipe: Connection, base: str, plan: Plan, number: int) -> None:
    recorder = Recorder(base)
    share = plan.count // plan.workers
    waiting = iter(operations(plan.seed, share, number, plan.large_bytes, plan.links_out))
    while True:
        what = pipe.recv()
        if what[0] == "go":
            _, count, pause = what
            for _, one in zip(range(count), waiting, strict=False):
                recorder.act(one)
                if pause:
                    time.sleep(pause)
            pipe.send(None)
        elif what[0] == "shown":
            pipe.send(recorder.shown)
        else:
            pipe.send((recorder.passed, recorder.failed))
            return


def _begin(workers: Sequence[Worker], what: tuple[Any, ...]) -> None:
    for worker in workers:
        worker.tell(what)


def _ended(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.answer()


def _each(workers: Sequence[Worker], what: tuple[Any, ...]) -> None:
    _begin(workers, what)
    _ended(workers)
