"""Compiled dependencies for hosts with another Python or machine than this one: wheels, fetched once and kept.

Versions and hashes are those of requirements/runtime.txt, and nothing else is taken. Where the controller has no
package index when policies are applied, they are fetched beforehand: `make wheels`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import engine
from engine.deploy import packages
from engine.deploy.platforms import Platform, supported, this_platform
from engine.env import durable
from engine.model.errors import BcsError, Failed

LOCK = Path(engine.__file__).parents[1] / "requirements" / "runtime.txt"
FETCH_SECONDS = 600


def fetch(directory: Path, names: Iterable[str], platform: Platform) -> Path:
    """The directory below `directory` with the wheels of these packages for a platform, fetched unless it is there.

    Raises Failed when they can't be had, with what to do.
    """
    wanted = "".join(locked(name) for name in names)
    target = directory / f"{platform.key}-{sha256(wanted.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    durable.make_directories(directory)
    unfinished = Path(tempfile.mkdtemp(prefix=".", dir=directory))
    try:
        (unfinished / "requirements.txt").write_text(wanted)
        _download(unfinished, platform)
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():  # somebody else was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def locked(name: str) -> str:
    """The lines of the lock file about one package: its version and the hashes of all its files."""
    try:
        text = LOCK.read_text()
    except FileNotFoundError:
        raise Failed(f"there is no {LOCK}, which names the packages for other hosts",
                     hint="run from a checkout of this program") from None  # fmt: skip
    found = re.search(rf"^{re.escape(name)}==[^\n]*\\\n(?:    --hash=[^\n]*\n)+", text, re.MULTILINE)
    if not found:
        raise Failed(f"{LOCK.name} does not name {name}", hint="run: make lock")
    # Conditions are about this Python; what is wanted was chosen for the other one.
    return re.sub(r" ;[^\\\n]*", "", found[0])


def _download(directory: Path, platform: Platform) -> None:
    argv = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
        "--retries=1", "--implementation", "cp", "--python-version", platform.python, "--dest", str(directory),
        "--requirement", str(directory / "requirements.txt"), *(f"--platform={tag}" for tag in platform.tags),
    ]  # fmt: skip
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
        said = done.stderr.strip().splitlines() if done.returncode else []
    except subprocess.TimeoutExpired:
        said = [f"no answer within {FETCH_SECONDS} s"]
    else:
        if done.returncode == 0:
            return
    why = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "pip said nothing")
    raise Failed(
        f"no packages for {platform} here, and none could be fetched: {why.removeprefix('ERROR: ')}",
        hint="run `make wheels` once where there is a package index, with the same BCS_HOME",
    )


def main(home: str, kind: str = "agent") -> int:
    """Fetch what agents (or, with `node`, nodes) need on all platforms but this one, below `home`/cache/wheels."""
    names, failed = {"agent": packages.AGENT, "node": packages.NODE}[kind], False
    for platform in [each for each in supported() if each != this_platform()]:
        try:
            print(f"{kind} for {platform}: {fetch(Path(home) / 'cache' / 'wheels', names, platform)}", flush=True)
        except BcsError as error:
            print(f"{kind} for {platform}: {error.message}", file=sys.stderr, flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
