"""Record what was done: in the audit stream by the node, or in a file that waits for it.

Each line of BCS_HOME/audit/pending.jsonl is one act, durable before it counts as recorded; a node
that starts takes them over into its audit stream.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.env.clock import SYSTEM, Clock
from engine.env.endpoint import request_json
from engine.model.errors import Unreachable
from engine.model.times import format_time


def record_act(home: Path, what: str, who: str, details: Mapping[str, Any], clock: Clock = SYSTEM) -> bool:
    """Have one act recorded; True by the node, False in the waiting file. Raises OSError when neither can be."""
    try:
        request_json(home / "run" / "node.sock", "POST", "/v1/audit", {"what": what, "who": who, "details": details})
        return True
    except Unreachable:
        act = {"at": format_time(clock.now()), "what": what, "who": who, "details": dict(details)}
        _append(home / "audit" / "pending.jsonl", act)
        return False


def who_acts() -> str:
    """The user who runs this, and on whose behalf when it came through sudo, or from a user of the site."""
    if behalf := os.environ.get("BCS_ON_BEHALF_OF"):
        return behalf
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {name})" if behind and behind != name else name


def _append(path: Path, value: Mapping[str, Any]) -> None:
    durable.make_directories(path.parent)
    line = json.dumps(value, sort_keys=True).encode() + b"\n"
    while not _appended(path, line):
        pass
    durable.sync_directory(path.parent)


def _appended(path: Path, line: bytes) -> bool:
    """Add a line durably; False when a node took the file over, and away, while we waited for it."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if not os.fstat(fd).st_nlink:
            return False
        os.write(fd, line)
        os.fsync(fd)
        return True
    finally:
        os.close(fd)
