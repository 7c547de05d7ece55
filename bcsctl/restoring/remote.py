"""Restores that a node sends: to a host, whose agent receives them, or to this machine, where we are the receiver.

The node grants and records; here it is asked, watched, and told when someone presses Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bcsctl.output import BUSY, progress, say
from engine.env.clock import SYSTEM
from engine.env.endpoint import Endpoint, request_json
from engine.model.counts import counted
from engine.model.errors import BcsError, Failed, NothingThere, Refused, Unreachable, UsageError, VerificationFailed
from engine.model.times import format_size
from engine.wire.errands import LOOK, SCRATCH

WAIT_SECONDS = 10.0
RETRY_SECONDS = 0.5
UNHEARD_SECONDS = 15.0
"""A host that says nothing for so long is worth a word."""
_CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants: where from, as of when, and `folder`, absolute, on `host`; empty for this machine.

    With `before`, the moment of a mark, in place on `host` instead; `exact` removes what did not exist then. `way` is
    another errand (engine.wire.errands), `how` what else is said, in the node's words."""

    address: str
    path: bytes | None
    at: str
    host: str
    folder: bytes
    verify: bool
    who: str
    before: str = ""
    exact: bool = False
    way: str = ""
    how: Mapping[str, Any] = field(default_factory=dict)

    def body(self, *, dry_run: bool = False) -> dict[str, Any]:
        return {
            "address": self.address,
            "path": None if self.path is None else os.fsdecode(self.path),
            "at": self.at,
            "host": self.host,
            "dir": os.fsdecode(self.folder),
            "verify": self.verify,
            "dry_run": dry_run,
            "who": self.who,
            **self.how,
            **({"way": self.way} if self.way else {}),
            **({"in_place": True, "before": self.before, "exact": self.exact} if self.before else {}),
        }

    @property
    def place(self) -> str:
        """Where it goes, for the eye."""
        if self.before:
            return f"its place on {self.host}"
        if self.way == SCRATCH:
            return f"{self.host}:{SCRATCH}"
        return f"{self.host}:{os.fsdecode(self.folder)}" if self.host else os.fsdecode(self.folder)


def planned(endpoint: Endpoint, asked: Asked) -> dict[str, Any]:
    """What a restore would do: {point, at, class, plan}."""
    return request_json(endpoint, "POST", "/v1/restores", asked.body(dry_run=True), timeout_seconds=300)


def looked(endpoint: Endpoint, asked: Asked, as_json: bool) -> dict[str, Any]:
    """What a restore would do, and what stands in its way where it goes: {point, at, class, plan, dry_run}.

    Refused as the restore would be. Of a host whose agent is not heard of it says what the node knows.
    """
    try:
        told = carried_out(endpoint, replace(asked, way=LOOK), as_json)
    except Refused as error:
        if "agent" not in error.details:
            raise
        say(f"{error.message}: nobody has looked at what is there", BUSY)
        return planned(endpoint, asked)
    plan = {**told["plan"], "standing": told["standing"]}
    of_point = ("point", "at", "class", "unseen_since", "unseen_reason")
    return {**{name: told[name] for name in of_point if name in told}, "plan": plan, "dry_run": True}


def carried_out(endpoint: Endpoint, asked: Asked, as_json: bool) -> dict[str, Any]:
    """Open a restore, see it to its end, and answer with what the node and the receiver said of it.

    On Ctrl-C it is cancelled first. Raises what kept it from beginning or broke it off.
    """
    opened = request_json(endpoint, "POST", "/v1/restores", asked.body(), timeout_seconds=300)
    outcome = seen_through(endpoint, opened, asked, as_json)
    opened.pop("version", None)
    return {"address": asked.address, **opened, "kept": 0, "kept_aside": [], **outcome, "recorded": True}


def seen_through(endpoint: Endpoint, opened: Mapping[str, Any], asked: Asked, as_json: bool) -> dict[str, Any]:
    """The outcome of what was opened, once it is over."""
    with progress(as_json) as drawn:
        task = drawn.add_task("restoring", total=opened["plan"]["bytes"] or None)

        def draw(phase: str, files: int, count: int) -> None:
            drawn.update(task, description=phase, completed=count)

        try:
            if asked.host:
                ended = _watched(endpoint, opened, draw)
                _raise_unless_done(ended, asked)
                return dict(ended["outcome"])
            return _received(endpoint, opened["id"], asked, draw)
        except KeyboardInterrupt:
            _cancel(endpoint, opened["id"], asked)
            raise


def _watched(endpoint: Endpoint, opened: Mapping[str, Any], draw: Callable[[str, int, int], None]) -> dict[str, Any]:
    """The restore once it is over. While the node is away, or its host says nothing, we go on asking."""
    version, heard, silent, warned = -1, SYSTEM.monotonic(), False, False
    while True:
        target = f"/v1/restores/{opened['id']}?version={version}&wait={WAIT_SECONDS if version >= 0 else 0:g}"
        try:
            now = request_json(endpoint, "GET", target, timeout_seconds=WAIT_SECONDS + 20)
        except Unreachable as error:
            if not silent:
                say(f"{error.message}; the restore goes on once it is back", BUSY)
            silent = True
            SYSTEM.sleep(RETRY_SECONDS)
            continue
        silent = False
        if now["state"] != "open":
            return now
        if now["version"] != version:
            version, heard, warned = now["version"], SYSTEM.monotonic(), False
            draw(now["phase"], now["files"], now["bytes"])
        elif not warned and SYSTEM.monotonic() - heard > UNHEARD_SECONDS:
            warned = True
            what = "has not begun" if now["heard_at"] is None else "has said nothing for a while"
            say(f"host {now['host']} {what}; the restore goes on once it does, Ctrl-C cancels it", BUSY)


def _received(endpoint: Endpoint, id: str, asked: Asked, draw: Callable[[str, int, int], None]) -> dict[str, Any]:
    """Receive it ourselves. KeyboardInterrupt when someone pressed Ctrl-C meanwhile."""
    from engine.agent.restore.client import RestoreClient, Stopped
    from engine.agent.restore.onto import Look, Onto
    from engine.agent.restore.receive import Done
    from engine.agent.restore.restoring import Job, receive

    stopping = threading.Event()

    def tell(phase: str, done: Done) -> None:
        draw(phase, done.files, done.bytes_written)

    told: list[str] = []

    def waiting(why: str) -> None:
        if why and not told:
            say(f"{why}; the restore goes on once it is back", BUSY)
        told[:] = [why] if why else []

    with _interrupted(stopping):
        try:
            client = RestoreClient(lambda: endpoint, id, "", stopping, waiting)
            job = Job(asked.folder, asked.verify, guarded=False, name=id, how=asked.how)
            return receive(client, job, stopping, tell, run=Look if asked.way == LOOK else Onto)
        except Stopped as error:
            if stopping.is_set():
                raise KeyboardInterrupt from None
            raise Failed(f"the restore to {asked.place} was ended by someone else: {error.message}") from None


@contextmanager
def _interrupted(stopping: threading.Event) -> Iterator[None]:
    """Ctrl-C sets `stopping` meanwhile: what is being written is ended in good order."""
    before = signal.signal(signal.SIGINT, lambda *_: stopping.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _cancel(endpoint: Endpoint, id: str, asked: Asked) -> None:
    try:
        ended = request_json(endpoint, "POST", f"/v1/restores/{id}/cancel", {"who": asked.who})
    except BcsError as error:
        say(f"the restore {id} could not be cancelled and may go on: {error.message}", BUSY)
        return
    if ended["state"] != _CANCELLED:
        say(f"the restore had ended before: {ended['state']}", BUSY)
        return
    written = f"{counted(ended['files'], 'file')} with {format_size(ended['bytes'])}"
    say(f"cancelled; what was written stays in {asked.place}: about {written}", BUSY)


def _raise_unless_done(ended: Mapping[str, Any], asked: Asked) -> None:
    if ended["state"] == "done":
        return
    told = ended["error"].get("error", ended["error"])
    message = str(told.get("message") or ended["state"])
    if ended["state"] == _CANCELLED:
        raise Failed(f"{message}; what was written stays in {asked.place}")
    kinds: dict[str, type[BcsError]] = {
        "refused": Refused, "usage": UsageError, "nothing-there": NothingThere, "damaged": VerificationFailed,
        "verification-failed": VerificationFailed,
    }  # fmt: skip
    kind = kinds.get(str(told.get("code")), Failed)
    details = told.get("details")
    hint = str(told.get("hint") or "")
    raise kind(f"host {asked.host}: {message}", hint=hint, details=details if isinstance(details, dict) else {})


def local_folder(path: str) -> bytes:
    """A directory of this machine, absolute."""
    return os.fsencode(Path(path).expanduser().absolute())
