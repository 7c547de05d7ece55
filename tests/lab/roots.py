"""Disk roots of hosts: built once by mmdebstrap, kept in a cache under a name that tells the recipe.

The cache is ${BCS_LAB_CACHE:-/var/cache/bcs-lab}. A root is built under another name and renamed when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError, LabImpossible
from tests.lab.shell import sh

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PACKAGES = (
    "systemd systemd-sysv dbus openssh-server python3 sudo rsync iproute2 iputils-ping procps kmod less "
    "ca-certificates tzdata acl attr nftables"
)
LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")


@dataclass(frozen=True, slots=True)
class Recipe:
    suite: str
    packages: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.suite, self.packages, LEFT_OUT)).encode()).hexdigest()[:12]


RECIPES = {
    "bookworm": Recipe("bookworm", tuple(PACKAGES.split())),  # Python 3.11
    "trixie": Recipe("trixie", tuple(PACKAGES.split())),  # Python 3.13
}


def cache() -> Path:
    return Path(os.environ.get("BCS_LAB_CACHE") or "/var/cache/bcs-lab")


def ensure(name: str) -> Path:
    """The root's directory, built if it isn't there (a minute). Raises LabImpossible when it can't be had."""
    recipe = RECIPES[name]
    root = cache() / "roots" / f"{name}-{recipe.digest}"
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with _locked(root.parent / f"{name}.lock"):
        if not root.is_dir():
            _build(recipe, root)
    return root


def _build(recipe: Recipe, root: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise LabImpossible("mmdebstrap is not installed, and there is no root for hosts yet")
    half = root.with_name(root.name + ".building")
    shutil.rmtree(half, ignore_errors=True)
    source = f"deb [signed-by={KEYRING}] {mirror()} {recipe.suite} main"
    options = ["--dpkgopt=path-exclude=" + path for path in LEFT_OUT]
    include = "--include=" + ",".join(recipe.packages)
    recommends = '--aptopt=APT::Install-Recommends "false"'
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", include, recommends, *options]
    try:  # mounts that mmdebstrap makes end with it, whatever happens
        sh("unshare", "--mount", "--propagation=slave", *command, recipe.suite, half, source, timeout_seconds=900)
    except LabError as error:
        shutil.rmtree(half, ignore_errors=True)
        raise LabImpossible(f"no {recipe.suite} root could be built: {str(error).splitlines()[-1]}") from None
    half.rename(root)


def mirror() -> str:
    """The Debian mirror that this machine's apt uses. Raises LabImpossible when its sources name none."""
    places = [*sorted(Path("/etc/apt/sources.list.d").glob("*.sources")), Path("/etc/apt/sources.list")]
    text = "\n".join(path.read_text() for path in places if path.is_file())
    found = re.search(r"^(?:URIs:|deb)\s+(?:\[.*\]\s+)?(https?://\S*/debian)/?(?:\s|$)", text, re.MULTILINE)
    if found is None:
        raise LabImpossible("the sources of this machine's apt name no Debian mirror to build hosts' roots from")
    return found[1]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
