"""`apply --watch`: round after round, from the repository's newest commit to what runs, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bcsctl.output import BAD, BUSY, GOOD, printable, say
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM, Clock
from engine.env.endpoint import Endpoint, request_json
from engine.model.errors import BcsError, Failed, Refused
from engine.model.policy.site import EMBEDDED_SITE
from engine.model.times import format_time
from engine.reconcile import repository, watching
from engine.reconcile.watching import Round

COLOURS = {watching.SYNCED: GOOD, watching.APPLIED: GOOD, watching.HEALED: BUSY, watching.FAILED: BAD}


@dataclass(frozen=True, slots=True)
class Applied:
    """What one apply came to: how many changes its plan held, how many hosts and sources failed."""

    changes: int
    failures: int


def watch(
    policies: Sequence[Path],
    every_seconds: float,
    apply_once: Callable[[], Applied],
    report: Callable[[Round], None],
    *,
    signed: bool = False,
    clock: Clock = SYSTEM,
) -> None:
    """Apply each `every_seconds` until SIGTERM or SIGINT. A round that fails is said and reported, and the next comes.

    Raises Refused when `signed` is asked for policies outside of a git repository.
    """
    found = repository.find(policies)
    if signed and found is None:
        raise Refused("--verify-signatures needs policies in a git repository", hint="name a path inside of one")
    before: Round | None = None
    with _told_to_stop() as stopping:
        while not stopping.is_set():
            now = one_round(found, before, apply_once, signed=signed, clock=clock)
            if watching.worth_a_line(before, now):
                _say(now)
            try:
                report(now)
            except BcsError as error:  # whoever reads this log must not depend on the node alone
                say(f"the round could not be reported: {printable(error.message)}", BUSY)
            before = now
            stopping.wait(every_seconds)


def reporter(at: Settings, sites: Collection[str]) -> Callable[[Round], None]:
    """Tells the node of each of `sites` of each round: it shows in the metrics there, and is told to whom the policies
    name. Before any plan was made it is this machine's. Raises the first error once all were told."""

    def report(now: Round) -> None:
        failures = []
        for site in sites or (EMBEDDED_SITE,):
            try:
                if (endpoint := _endpoint(at, site)) is not None:
                    request_json(endpoint, "POST", "/v1/sync", now.as_json())
            except BcsError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    return report


def _endpoint(at: Settings, site: str) -> Endpoint | Path | None:
    if site == EMBEDDED_SITE:
        return at.socket
    from engine.env import credentials

    credential = credentials.read(site)
    return credential.endpoint() if credential else None


def one_round(
    found: repository.Repository | None,
    before: Round | None,
    apply_once: Callable[[], Applied],
    *,
    signed: bool,
    clock: Clock,
) -> Round:
    """Bring the repository up to date and apply it. Where only that failed, what was applied before is kept up."""
    commit, trouble = "", None
    if found is not None:
        try:
            commit = repository.update(found, signed=signed).id
        except BcsError as error:
            trouble = error
            if before is None or not before.commit:
                return watching.stopped(before, clock.now(), "", error)
            commit = before.commit
    try:
        if trouble is not None and found is not None and not _still_at(found, commit):
            raise trouble
        done = apply_once()
    except BcsError as error:
        return watching.stopped(before, clock.now(), commit, trouble or error)
    except OSError as error:
        return watching.stopped(before, clock.now(), commit, Failed(str(error)))
    if trouble is not None:
        return watching.stopped(before, clock.now(), commit, trouble)
    return watching.done(before, clock.now(), commit, done.changes, done.failures)


def _still_at(found: repository.Repository, commit: str) -> bool:
    """Whether the working tree holds this commit, whole: else what is in it was never verified."""
    try:
        return repository.clean(found.root) and repository.head(found.root).id == commit
    except BcsError:
        return False


def _say(now: Round) -> None:
    at, commit = format_time(now.at), f" at {now.commit[:12]}" if now.commit else ""
    changes = f", {now.changes} change{'s' if now.changes != 1 else ''}" if now.changes else ""
    say(printable(f"{at} {now.state}{commit}{changes}{': ' if now.message else ''}{now.message}"), COLOURS[now.state])
    if now.hint:
        say(f"  {printable(now.hint)}")


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; a round that is under way ends first."""
    event = threading.Event()
    former = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
