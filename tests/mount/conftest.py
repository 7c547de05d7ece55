"""A site with some history, mounted by the program itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.embedded import Site
from tests.sample_tree import make_sample

ADDRESS = "demo/localhost/files"
CAN_MOUNT = os.geteuid() == 0 and os.path.exists("/dev/fuse")


def await_it(condition: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


@dataclass(slots=True)
class History:
    """A protected tree `source`, and the point at which it was as `before` holds it."""

    site: Site
    source: Path
    before: Path
    at: str


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    if not CAN_MOUNT:
        pytest.skip("mounting needs root and /dev/fuse")
    base = tmp_path_factory.mktemp("mount")
    source = base / "source"
    source.mkdir()
    make_sample(source)
    (source / "changing").write_text("first\n")
    with Site(base / "home").start() as site:
        site.protect(ADDRESS, source)
        site.wait_protected(ADDRESS)
        before = base / "before"
        subprocess.run(["cp", "-a", source, before], check=True)
        at = site.json("points", ADDRESS)["points"][-1]["at"]
        site.json("mark", "demo", "--label", "before-upgrade")
        (source / "changing").write_text("second\n")
        (source / "new").mkdir()
        (source / "new" / "file").write_bytes(os.urandom(3 << 20))
        await_it(lambda: b"second" in site.run("cat", f"{ADDRESS}:{source}/changing", check=False).stdout)
        await_it(lambda: site.run("cat", f"{ADDRESS}:{source}/new/file", check=False).returncode == 0)
        await_it(lambda: site.source(ADDRESS)["pending"] == 0)
        yield History(site, source, before, at)


@pytest.fixture
def mounted(history: History, tmp_path: Path) -> Iterator[Path]:
    """The whole history, by `bcsctl mount` in the foreground."""
    place = tmp_path / "mnt"
    place.mkdir()
    command = [sys.executable, "-m", "bcsctl", "mount", str(place)]
    with subprocess.Popen(command, env=history.site.environment, stderr=subprocess.PIPE) as program:
        try:
            await_it(lambda: os.path.ismount(place) or program.poll() is not None)
            yield place
        finally:
            program.terminate()
            program.wait(120)
    assert not os.path.ismount(place)
