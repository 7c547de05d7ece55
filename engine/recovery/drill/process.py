"""The process in which a node makes a drill that is due: `python -m engine.recovery.drill.process drill`.

It gets its task on standard input as JSON: {home, journal, master_key, key_file, group, drill, digest, who,
parent}. It gives way
to all others, ends with the node, and removes what it made however it ends; what it found is in the audit.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from engine.env import processes
from engine.env.niceness import NICE_AT_REST, give_way
from engine.journal.open import open_local
from engine.model.errors import BcsError
from engine.recovery.drill.cold import Filling
from engine.recovery.drill.rehearsal import Hands
from engine.recovery.drill.run import Scene, asked_of, group_of, make
from engine.recovery.restore import Helping

CHANGED = 3
"""The exit code when the group's policy is another one by now: what was due is not, the node looks again."""
_OOM_SCORE = "800"


def main() -> None:
    """Make the drill of the task; exits with 0 when it was made, passed or not."""
    task = json.load(sys.stdin)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    if not processes.end_with(task["parent"]):
        sys.exit(1)
    os.nice(NICE_AT_REST)
    give_way()
    try:
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    except OSError:
        pass  # then the node and it are as likely to go
    try:
        sys.exit(run(task))
    except BcsError as error:
        sys.exit(f"the drill of {task['group']} could not be made: {error.message}")


def run(task: dict[str, Any]) -> int:
    """Make it; the exit code."""
    root, master_key = Path(task["journal"]), bytes.fromhex(task["master_key"])
    journal = open_local(root, master_key)
    policy = group_of(journal, task["group"])
    if policy.digest != task["digest"] or task["drill"] >= len(policy.drills):
        return CHANGED
    filling = Filling(root, Path(task["key_file"]), task["who"]) if task["key_file"] else None
    hands = Hands(Helping(root, master_key, os.cpu_count() or 1), filling)
    # Another drill goes first, and this one is found due again.
    scene = Scene(Path(task["home"]), journal, task["who"], hands, wait_seconds=0.0)
    make(scene, [asked_of(policy)[task["drill"]]])
    return 0


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
