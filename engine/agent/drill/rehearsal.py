"""One drill on this host, from the first byte to the last word: received, checked in the policy's order, taken away.

What goes wrong is a row, and the rest is still looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from engine.agent.drill import cold
from engine.agent.drill.checks import application_rows, command_row
from engine.agent.drill.received import Received, Row, room, row
from engine.agent.drill.scene import Drill, Scene, content_of
from engine.agent.restore.client import Stopped
from engine.agent.restore.restoring import OPEN, Job
from engine.fill.life import rehearsed
from engine.model.errors import BcsError, Refused


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
        rehearsed.remove(scene.place)
    tell({"outcome": outcome})


def _made(drill: Drill, scene: Scene, tell: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    sources = [_received(drill, each, scene) for each in drill.sources]
    try:
        try:
            if drill.on_demand:
                cold.room_for(drill, scene, sources)
            else:
                room(scene.place, sources)
        except Refused as error:
            return {"checks": [row("room", False, error.message)], "sources": []}
        return (cold.made if drill.on_demand else _restored)(drill, scene, sources, tell)
    finally:
        for each in sources:
            each.close()


def _restored(
    drill: Drill, scene: Scene, sources: list[Received], tell: Callable[[Mapping[str, Any]], str]
) -> dict[str, Any]:
    rows: list[Row] = []
    back = [number for number, each in enumerate(sources) if _came(each, number, rows)]
    told = [
        {"source": number, "files": sources[number].done.files, "names": sources[number].done.names,
         "bytes": sources[number].done.bytes_written, "seconds": round(sources[number].seconds, 3)}
        for number in range(len(sources)) if sources[number].received
    ]  # fmt: skip
    if tell({"restored": len(back) == len(sources)}) != OPEN:
        raise Stopped("the drill is over")
    for check in drill.how["checks"]:
        rows += _checked(check, drill, scene, {number: sources[number] for number in back})
    return {"checks": rows, "sources": told}


def _received(drill: Drill, source: Mapping[str, Any], scene: Scene) -> Received:
    target = os.fsencode(content_of(scene.place, source))
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
        return [each for number, one in back.items() for each in one.read_back(number)]
    if check["name"] == "application":
        return application_rows(drill, scene, list(back))
    if check["name"] != "command":
        return [row(str(check["name"]), False, "the agent here knows no such check")]
    return [command_row(check, drill, scene, list(back))]
