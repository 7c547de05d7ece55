"""Where applied policies came from: the git commit they were read at, and who applied them."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GIT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Provenance:
    """`commit` and `dirty` are None outside of a git repository, or where git will not say."""

    by: str
    commit: str | None = None
    dirty: bool | None = None


def provenance(paths: Sequence[Path]) -> Provenance:
    """Of the policies in `paths`: the repository of the first of them counts."""
    if not paths:
        return Provenance(_who())
    folder = paths[0] if paths[0].is_dir() else paths[0].parent
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if not commit:
        return Provenance(_who())
    changes = _git(folder, "status", "--porcelain", "--untracked-files=normal")
    return Provenance(_who(), commit.strip(), None if changes is None else bool(changes.strip()))


def _git(folder: Path, *arguments: str) -> str | None:
    """Git's answer; None if there is no git, no repository, or it refuses.

    Nothing that the repository's own settings name is run but what reading needs, and its index is left alone.
    """
    argv = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _who() -> str:
    """USER@HOST; behind sudo the user who called it."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
