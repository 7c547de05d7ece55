"""The commands of a drill on this host, run one by one while the node goes on hearing of us.

They come from the node, which sends those of the applied policies alone; they run in namespaces of their own, where no
network is but loopback.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.agent.drill.received import Row, row
from engine.agent.drill.scene import Drill, Scene, content_of, directory_of
from engine.agent.restore.client import Stopped
from engine.agent.restore.restoring import OPEN
from engine.drivers import asking
from engine.env import running_alone
from engine.model.errors import BcsError

BEAT_SECONDS = 1.0
_KEPT = ("PATH", "LANG", "LC_ALL")


def command_row(check: Mapping[str, Any], drill: Drill, scene: Scene, back: Sequence[int]) -> Row:
    """Run a command where the sources lie; `back` are the numbers of those that are there. Stopped when the drill is
    over by then."""
    command = check["command"]
    text = command if isinstance(command, str) else " ".join(command)
    if not back:
        return row("command", False, "there is nothing to run it on", command=text)
    with beating(scene, "checking") as gone:
        began = scene.clock.monotonic()
        directory = directory_of(drill, scene.place)
        ran = running_alone.run(
            command, directory, _environment(drill, scene, directory), float(check["timeout_seconds"]), gone
        )
        seconds = scene.clock.monotonic() - began
    if gone.is_set():
        raise Stopped("the drill is over")
    source = back[0] if len(drill.sources) == 1 else None
    why = ran.why or "it exited with 0"
    return row("command", ran.passed, why, seconds, source, command=text, output=ran.output)


def application_rows(drill: Drill, scene: Scene, back: Sequence[int]) -> list[Row]:
    """What drivers say of the databases that they know in each source that is there."""
    rows = []
    for number in back:
        with beating(scene, "checking") as gone:
            began = scene.clock.monotonic()
            said = asking.ask(content_of(scene.place, drill.sources[number]), _scratch(scene), gone)
            seconds = scene.clock.monotonic() - began
        if gone.is_set():
            raise Stopped("the drill is over")
        rows.append(row("application", said.passed, said.text, seconds, number))
    return rows


def _scratch(scene: Scene) -> Path:
    scratch = scene.place / "tmp"
    scratch.mkdir(mode=0o700, exist_ok=True)
    return scratch


@contextmanager
def beating(scene: Scene, phase: str) -> Iterator[threading.Event]:
    """Within it the node hears that we live; what it gives is set once nobody wants the drill any more."""
    gone, ended = threading.Event(), threading.Event()
    client = scene.client("")

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                if scene.stopping.is_set() or client.progress({"phase": phase}) != OPEN:
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


def _environment(drill: Drill, scene: Scene, directory: Path) -> dict[str, str]:
    scratch = _scratch(scene)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    of_drill = {
        "BCS_DRILL_DIR": str(directory),
        "BCS_DRILL_TMP": str(scratch),
        "BCS_DRILL_AT": str(drill.how["at"]),
        "BCS_DRILL_GROUP": str(drill.how["group"]),
        "BCS_DRILL_ID": drill.id,
    }
    return {"PATH": os.defpath, **kept, "HOME": str(scratch), "TMPDIR": str(scratch), **of_drill}
