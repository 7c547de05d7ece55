"""Lines of a log on standard error: for people as they are, or each a JSON object with BCS_LOG=json.

BCS_LOG_LEVEL names the least that is written: debug, info (the default), warning, error. Under systemd each line bears
its priority (sd-daemon(3)), so that `journalctl -p warning` works. What looks like a secret is never written.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from typing import Any

from engine.env.clock import SYSTEM, Clock
from engine.model.times import format_time

DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"
PRIORITIES = {DEBUG: 7, INFO: 6, WARNING: 4, ERROR: 3}
"""Levels, least first, with their syslog priorities."""

HIDDEN = "…"
_LEVELS = tuple(PRIORITIES)
_SECRET_NAMES = re.compile(r"token|password|secret|authorization|private|credential", re.IGNORECASE)
_SECRETS = re.compile(
    r"(?P<token>\bbcse?_(?:[0-9a-f]+_)?)[0-9a-f]{16,}"
    r"|(?P<bearer>\bBearer )\S+"
    r"|(?P<login>://)[^/\s@]+@"
    r"|(?P<key>-----BEGIN [A-Z ]*PRIVATE KEY-----)[^-]*"
)


def wanted(level: str) -> bool:
    """Whether lines of this level are written: ask before putting together what is costly."""
    least = os.environ.get("BCS_LOG_LEVEL", INFO)
    return _LEVELS.index(level) >= (_LEVELS.index(least) if least in PRIORITIES else _LEVELS.index(INFO))


def write(process: str, level: str, text: str, fields: dict[str, Any], clock: Clock = SYSTEM) -> None:
    """One line of `process` (node, agent). `fields` follow the text, as NAME=VALUE or as members of the object."""
    if not wanted(level):
        return
    fields = {name: HIDDEN if _SECRET_NAMES.search(name) else value for name, value in fields.items()}
    at = format_time(clock.now())
    if os.environ.get("BCS_LOG") == "json":
        line = json.dumps({"time": at, "level": level, "process": process, "message": text, **fields}, default=str)
    else:
        named = "".join(f" {name}={value}" for name, value in fields.items())
        line = one_line(f"{at} {'' if level == INFO else f'{level}: '}{text}{named}")
    _put(_priority(level) + hide_secrets(line))


def write_failure(process: str, text: str, error: BaseException, clock: Clock = SYSTEM) -> None:
    """A fault of ours, with its traceback: inside the object, or in lines of its own below."""
    told = "".join(traceback.format_exception(error))
    if os.environ.get("BCS_LOG") == "json":
        write(process, ERROR, text, {"traceback": told}, clock)
        return
    write(process, ERROR, text, {}, clock)
    _put("\n".join(_priority(ERROR) + hide_secrets(line) for line in told.rstrip().splitlines()))


def hide_secrets(text: str) -> str:
    """The text without what looks like a token, a password in a URL or a private key."""
    return _SECRETS.sub(lambda found: next(filter(None, found.groups())) + HIDDEN, text)


def one_line(text: str) -> str:
    """The text with what can't be printed as escapes: nobody's name may end a line, or begin one."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


def _put(text: str) -> None:
    sys.stderr.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stderr.flush()


def _priority(level: str) -> str:
    return f"<{PRIORITIES[level]}>" if _to_the_journal() else ""


def _to_the_journal() -> bool:
    """Whether standard error is systemd's journal (JOURNAL_STREAM in systemd.exec(5))."""
    told = os.environ.get("JOURNAL_STREAM", "")
    if not told:
        return False
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return told == f"{found.st_dev}:{found.st_ino}"
