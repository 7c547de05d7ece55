"""Checks of a scratch restore: commands that run in its tree, and whether they left it as it was."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.env.clock import Clock
from engine.model.counts import as_were, counted
from engine.model.errors import Refused
from engine.tree.scratch import manifest, place
from engine.tree.scratch.place import CHECKED, FAILED, RESTORED, Scratch

OUTPUT_CHARS = 4_000
CHANGES_NAMED = 20
COMPARED = "(bytes and attributes)"
"""What the check is called that runs no command."""
TIMED_OUT = 124
"""The exit code of a check that took too long, as timeout(1) gives it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checks; `changes` are the first of (path, what) that they changed in the tree."""

    scratch: Scratch
    changes: tuple[tuple[str, str], ...]


def run_checks(
    home: Path, scratch: Scratch, commands: Sequence[str], seconds_each: float, may_write: bool, clock: Clock
) -> Checked:
    """Run each command with sh(1) in the tree, and note what came of it. Later checks run though one failed; these
    checks say whether it may be promoted, earlier ones no more.

    A check that changes the tree fails, since what would be promoted is not what was kept; with `may_write` the tree as
    the checks left it is what was checked. Refused for a tree that is not whole.
    """
    if scratch.state not in (RESTORED, CHECKED, FAILED):
        raise Refused(f"scratch {scratch.id} is not whole: there is nothing to check", hint="restore it again")
    kept = manifest.read(place.manifest_file(home, scratch))
    told = tuple(_run(command, scratch, seconds_each, clock) for command in commands)
    now = manifest.take(scratch.root)
    changes = list(manifest.differing(kept, now.rows))
    if changes and may_write:
        manifest.write(place.manifest_file(home, scratch), now)
    else:
        names = {name for name, _ in changes}
        unchanged = {name: row for name, row in kept.items() if name in now.rows and name not in names}
        manifest.put_times_back(scratch.root, unchanged)
    passed = all(each["code"] == 0 for each in told) and (may_write or not changes)
    known = replace(scratch, state=CHECKED if passed else FAILED, checks=(*scratch.checks, *told), changed=len(changes))
    place.save(home, known)
    return Checked(known, tuple(changes[:CHANGES_NAMED]))


def compare(home: Path, scratch: Scratch, clock: Clock) -> Checked:
    """Read all of the tree and compare it with what was kept, and note what came of it: bytes, attributes, names."""
    if scratch.state not in (RESTORED, CHECKED, FAILED):
        raise Refused(f"scratch {scratch.id} is not whole: there is nothing to check", hint="restore it again")
    began = clock.monotonic()
    now = manifest.take(scratch.root)
    changes = list(manifest.differing(manifest.read(place.manifest_file(home, scratch)), now.rows))
    first = ", ".join(f"{name} ({what})" for name, what in changes[:3])
    told = {
        "command": COMPARED,
        "code": 1 if changes else 0,
        "seconds": round(clock.monotonic() - began, 3),
        "output": f"{counted(len(changes), 'path')} not as kept: {first}" if changes else as_were(len(now.rows)),
    }
    state = FAILED if changes else CHECKED
    known = replace(scratch, state=state, checks=(*scratch.checks, told), changed=len(changes))
    place.save(home, known)
    return Checked(known, tuple(changes[:CHANGES_NAMED]))


def _run(command: str, scratch: Scratch, seconds: float, clock: Clock) -> Mapping[str, Any]:
    """One check: its exit code, how long it took, the end of what it said."""
    began = clock.monotonic()
    started = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=scratch.root,
        env={**os.environ, **_environment(scratch)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = started.communicate(timeout=seconds)
        code = started.returncode
    except subprocess.TimeoutExpired:
        code = TIMED_OUT
        _end(started.pid)
        output, _ = started.communicate()
    except BaseException:
        _end(started.pid)
        started.wait()
        raise
    text = output.decode("utf-8", "replace")[-OUTPUT_CHARS:]
    return {"command": command, "code": code, "seconds": round(clock.monotonic() - began, 3), "output": text}


def _end(pid: int) -> None:
    """What a check started ends with it: they are one session."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _environment(scratch: Scratch) -> dict[str, str]:
    """What a check may want to know."""
    first = scratch.sources[0] if scratch.sources else {}
    return {
        "BCS_SCRATCH": scratch.tree,
        "BCS_SCRATCH_ID": scratch.id,
        "BCS_ADDRESS": str(first.get("address", "")),
        "BCS_AT": str(first.get("at", "")),
    }
