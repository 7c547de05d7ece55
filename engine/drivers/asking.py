"""Have drivers look into a tree that came back (engine.drivers.applications), in namespaces of their own: the files may
be anybody's."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.env import running_alone

MODULE = "engine.drivers.applications"
SECONDS_MAX = 3600.0
NOTHING = "no driver knows anything in these files: nothing was asked"


@dataclass(frozen=True, slots=True)
class Said:
    """`passed` None where there was nothing to ask."""

    passed: bool | None
    text: str


def ask(tree: Path, scratch: Path, called_off: threading.Event | None = None) -> Said:
    """What they say of all that they know there. `scratch` is a directory for what they copy."""
    ours = str(Path(engine.__file__).resolve().parents[1])
    environment = {"PATH": os.defpath, "HOME": str(scratch), "TMPDIR": str(scratch), "PYTHONPATH": ours}
    command = [sys.executable, "-m", MODULE, str(tree), str(scratch)]
    ran = running_alone.run(command, tree, environment, SECONDS_MAX, called_off)
    if not ran.passed:
        return Said(False, f"{ran.why}: {ran.output.strip()[-200:]}" if ran.output else ran.why)
    try:
        told = json.loads(ran.output)
        whole = [
            f"{count:,} {kind} {'database' if count == 1 else 'databases'}" for kind, count in told["whole"].items()
        ]
        wrong, unasked = told["wrong"], told["unasked"]
        more = int(told["wrong_count"]) - 1
    except (ValueError, KeyError, TypeError):
        return Said(False, "what the drivers said can't be read")
    if wrong:
        path, why = wrong[0]
        return Said(False, f"{path}: {why}{f', and {more:,} more' if more > 0 else ''}")
    left = [f"{path} was not asked: {why}" for path, why in unasked[:1]]
    if not whole:
        return Said(None, left[0] if left else NOTHING)
    return Said(
        True, "; ".join([f"{' and '.join(whole)} {'is' if sum(told['whole'].values()) == 1 else 'are'} whole", *left])
    )
