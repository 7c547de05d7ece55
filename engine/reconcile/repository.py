"""The git repository of the policies: bring it up to its upstream, fast-forward only and signed when asked.

Nothing that the repository itself names is run: no hooks, no fsmonitor, no credential prompt. A commit counts only
after its signature was verified; until then the working tree stays at the commit before.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.model.errors import Failed, Refused

FETCH_SECONDS = 120
LOCAL_SECONDS = 60

_KEPT = ("GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_SSL_CAINFO")
_SAFE = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0")


@dataclass(frozen=True, slots=True)
class Repository:
    """A working tree at `root` on `branch`; `upstream` is empty where the branch follows none."""

    root: Path
    branch: str
    upstream: str


@dataclass(frozen=True, slots=True)
class Commit:
    """`subject` is the first line of the message, `author` name and address as git has them."""

    id: str
    author: str
    subject: str

    @property
    def short(self) -> str:
        return self.id[:12]


def find(paths: Sequence[Path]) -> Repository | None:
    """The repository that holds the first of the paths, None where there is none."""
    folder = next((path if path.is_dir() else path.parent for path in paths), Path("."))
    done = _run(folder, "rev-parse", "--show-toplevel")
    if done.returncode:
        return None
    root = Path(done.stdout.removesuffix("\n"))
    branch = _run(root, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
    upstream = _run(root, "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}") if branch else None
    return Repository(root, branch, upstream.stdout.strip() if upstream and not upstream.returncode else "")


def update(repository: Repository, *, signed: bool) -> Commit:
    """Fetch, verify, and move the working tree to the upstream's newest commit; that commit.

    Without an upstream the commit that is checked out counts. Raises Failed where it can't be fetched, Refused for a
    working tree with changes, a rewritten history, or, with `signed`, a commit without a signature that git trusts.
    The working tree then is as it was.
    """
    root = repository.root
    if changes := _changes(root):
        raise Refused(
            f"the working tree {root} has changes that no commit holds: {changes.splitlines()[0].strip()}",
            hint="commit or remove them: the loop applies commits only",
        )
    if repository.upstream:
        remote = _told(root, "config", f"branch.{repository.branch}.remote").strip()
        _told(root, "fetch", "--quiet", "--no-tags", "--", remote, seconds=FETCH_SECONDS)
    wanted = _told(root, "rev-parse", "--verify", f"{repository.upstream or 'HEAD'}^{{commit}}").strip()
    if signed:
        verify(root, wanted)
    if wanted != head(root).id:
        if _run(root, "merge-base", "--is-ancestor", "HEAD", wanted).returncode:
            raise Refused(
                f"{repository.upstream} at {wanted[:12]} does not follow {head(root).short}: its history was rewritten",
                hint=f"look at it, then by hand: git -C {root} reset --hard {repository.upstream}",
            )
        _told(root, "merge", "--quiet", "--ff-only", wanted)
    return head(root)


def head(root: Path) -> Commit:
    """The commit that is checked out; Failed in a repository without any."""
    fields = _told(root, "log", "-1", "--format=%H%x00%an <%ae>%x00%s").rstrip("\n").split("\0")
    return Commit(*fields)


def clean(root: Path) -> bool:
    """Whether the working tree is what its commit holds, and nothing else."""
    return not _changes(root)


def verify(root: Path, commit: str) -> None:
    """Refused unless git itself finds the commit's signature good and its key one that it trusts."""
    done = _run(root, "-c", "gpg.minTrustLevel=marginal", "verify-commit", commit)
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        reason = said[-1].strip() if said else "it has no signature"
        raise Refused(
            f"commit {commit[:12]} is not signed by anyone trusted: {reason}",
            hint="sign it, or add the key to git's gpg.ssh.allowedSignersFile or GnuPG's key ring",
        )


def _changes(root: Path) -> str:
    return _told(root, "status", "--porcelain", "--untracked-files=normal").strip()


def _told(root: Path, *arguments: str, seconds: int = LOCAL_SECONDS) -> str:
    """What git answers; Failed with its own words when it fails."""
    done = _run(root, *arguments, seconds=seconds)
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise Failed(f"git {arguments[0]} in {root}: {said[-1].strip() if said else f'exit code {done.returncode}'}")
    return done.stdout


def _run(root: Path, *arguments: str, seconds: int = LOCAL_SECONDS) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    try:
        return subprocess.run(
            ["git", *_SAFE, "-C", str(root), *arguments],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape",
            timeout=seconds, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise Failed("git is not installed", hint="install git where the policies are applied from") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"git {arguments[0]} in {root} did not end within {seconds} s") from None
