"""One drill on this host, from the first byte to the last word: received, checked in the policy's order, taken away.

Commands come from the node, which sends those of the applied policies alone; they run in namespaces of their own, where
no network is but loopback. What goes wrong is a row, and the rest is still looked at.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.agent.drill.client import DrillClient
from engine.agent.drill.received import Received, Row, room, row
from engine.agent.restore.client import Stopped
from engine.agent.restore.restoring import OPEN, Job
from engine.env import running_alone
from engine.env.clock import SYSTEM, Clock
from engine.model.errors import BcsError, Refused
from engine.tree import clearing

BEAT_SECONDS = 1.0
_KEPT = ("PATH", "LANG", "LC_ALL")


@dataclass(frozen=True, slots=True)
class Drill:
    """What the node asks for: `how` is {group, at, scratch, sources: [{id, host, name}], checks: [{name, command,
    timeout_seconds}]}."""

    id: str
    how: Mapping[str, Any]

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        return list(self.how["sources"])


@dataclass(frozen=True, slots=True)
class Scene:
    """Where it is made: `place` is a new directory for it alone. `client` gives one for a source's id, or for none;
    `own` and `protected` are paths that nothing may be restored to."""

    place: Path
    client: Callable[[str], DrillClient]
    stopping: threading.Event
    own: Sequence[bytes] = ()
    protected: Sequence[bytes] = ()
    clock: Clock = SYSTEM


def rehearse(drill: Drill, scene: Scene) -> None:
    """Make it, and tell the node what came of it. Nothing stays, however it ends; Stopped when nobody wants it any
    more."""
    tell = scene.client("").progress
    try:
        scene.place.mkdir(mode=0o700)
    except OSError as error:
        why = f"{scene.place} can't be made: {error.strerror}"
        tell({"outcome": {"checks": [row("room", False, why)], "sources": []}})
        return
    try:
        outcome = _made(drill, scene, tell)
    finally:
        clearing.remove(scene.place)
    tell({"outcome": outcome})


def _made(drill: Drill, scene: Scene, tell: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    sources = [_received(drill, each, scene) for each in drill.sources]
    rows: list[Row] = []
    try:
        try:
            room(scene.place, sources)
        except Refused as error:
            return {"checks": [row("room", False, error.message)], "sources": []}
        back = [number for number, each in enumerate(sources) if _came(each, number, rows)]
        told = [
            {"source": number, "files": sources[number].done.files, "names": sources[number].done.names,
             "bytes": sources[number].done.bytes_written, "seconds": round(sources[number].seconds, 3)}
            for number in range(len(sources)) if sources[number].received
        ]  # fmt: skip
        whole = len(back) == len(sources)
        if tell({"restored": whole}) != OPEN:
            raise Stopped("the drill is over")
        for check in drill.how["checks"]:
            rows += _checked(check, drill, scene, {number: sources[number] for number in back})
        return {"checks": rows, "sources": told}
    finally:
        for each in sources:
            each.close()


def _received(drill: Drill, source: Mapping[str, Any], scene: Scene) -> Received:
    target = os.fsencode(content_of(scene.place) / _part(source["host"]) / _part(source["name"]))
    job = Job(target, False, own=scene.own, protected=scene.protected, guarded=False, name=str(source["id"]))
    return Received(scene.client(str(source["id"])), job, scene.stopping, lambda phase, done: None, scene.clock)


def _came(one: Received, number: int, rows: list[Row]) -> bool:
    """Receive a source; whether it came back whole. There is a row of it."""
    try:
        one.receive()
    except Stopped:
        raise
    except (BcsError, OSError) as error:
        rows.append(row("restore", False, str(error), one.seconds, number))
        return False
    rows.append(one.row(number))
    return not one.done.failures


def _checked(check: Mapping[str, Any], drill: Drill, scene: Scene, back: Mapping[int, Received]) -> list[Row]:
    if check["name"] == "checksums":
        return [each for number, one in back.items() for each in _read_back(one, number)]
    if check["name"] != "command":
        text = "no driver looks into these files: nothing was asked"
        return [row(str(check["name"]), None, text, source=number) for number in back]
    command = check["command"]
    text = command if isinstance(command, str) else " ".join(command)
    if not back:
        return [row("command", False, "there is nothing to run it on", command=text)]
    with _beating(scene) as gone:
        began = scene.clock.monotonic()
        directory = _directory(drill, scene)
        ran = running_alone.run(
            command, directory, _environment(drill, scene, directory), float(check["timeout_seconds"]), gone
        )
        seconds = scene.clock.monotonic() - began
    if gone.is_set():
        raise Stopped("the drill is over")
    source = next(iter(back)) if len(drill.sources) == 1 else None
    why = ran.why or "it exited with 0"
    return [row("command", ran.passed, why, seconds, source, command=text, output=ran.output)]


def _read_back(one: Received, number: int) -> list[Row]:
    try:
        return one.rows_of_bytes(number)
    except Stopped:
        raise
    except (BcsError, OSError) as error:
        return [row("checksums", False, str(error), 0.0, number, differs=True)]


@contextmanager
def _beating(scene: Scene) -> Iterator[threading.Event]:
    """Within it the node hears that we live; what it gives is set once nobody wants the drill any more."""
    gone, ended = threading.Event(), threading.Event()
    client = scene.client("")

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                if scene.stopping.is_set() or client.progress({"phase": "checking"}) != OPEN:
                    gone.set()
                    return
            except BcsError:
                gone.set()
                return

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield gone
    finally:
        ended.set()


def content_of(place: Path) -> Path:
    return place / "content"


def _directory(drill: Drill, scene: Scene) -> Path:
    """Where commands run: in the only source, or in a directory with HOST/SOURCE of each."""
    content = content_of(scene.place)
    if len(drill.sources) == 1:
        [source] = drill.sources
        content = content / _part(source["host"]) / _part(source["name"])
    return content


def _environment(drill: Drill, scene: Scene, directory: Path) -> dict[str, str]:
    scratch = scene.place / "tmp"
    scratch.mkdir(mode=0o700, exist_ok=True)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    of_drill = {
        "BCS_DRILL_DIR": str(directory),
        "BCS_DRILL_TMP": str(scratch),
        "BCS_DRILL_AT": str(drill.how["at"]),
        "BCS_DRILL_GROUP": str(drill.how["group"]),
        "BCS_DRILL_ID": drill.id,
    }
    return {"PATH": os.defpath, **kept, "HOME": str(scratch), "TMPDIR": str(scratch), **of_drill}


def _part(name: object) -> str:
    """A host's or a source's name as one part of a path."""
    text = str(name)
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise Refused(f"'{text[:100]}' is no name of a host or a source")
    return text
