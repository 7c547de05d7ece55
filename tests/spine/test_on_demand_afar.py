"""`restore --on-demand` to another host: its agent makes the tree and fills it from the node, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.fill.kept import documents
from engine.fill.life.choosing import why_not
from engine.fill.life.starting import FILLER, HOLDER, ROLE, living
from tests.fidelity.walker import differences, walk
from tests.nodes import acts
from tests.spine.test_on_demand import LARGE, make_source, sha
from tests.spine.test_restore_afar import ADDRESS, Hosts

MECHANISMS = ["pre-access", "fuse"]


class Scene:
    """A source of host a; host b has its trees."""

    def __init__(self, hosts: Hosts, source: Path) -> None:
        self.hosts, self.site, self.source = hosts, hosts.site, source
        self.home = hosts.base / "home-b"

    def begin(self, target: Path, *more: str) -> dict[str, Any]:
        return dict(self.site.json("restore", ADDRESS, "--to", f"b:{target}", "--on-demand", *more))

    def one(self, id: str) -> dict[str, Any]:
        [found] = [each for each in self.site.json("recover", "list", "--all")["recoveries"] if each["id"] == id]
        return dict(found)

    def pids(self, id: str) -> dict[str, int]:
        place = documents.place_of(self.home, id)
        found = {role: living(place, role) for role in (ROLE, FILLER, HOLDER)}
        return {role: pid for role, pid in found.items() if pid is not None}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Hosts.up(tmp_path, "ab") as hosts:
        source = tmp_path / "source"
        make_source(source)
        hosts.site.protect(ADDRESS, source)
        hosts.site.wait_protected(ADDRESS)
        made = Scene(hosts, source)
        try:
            yield made
        finally:
            take_away(tmp_path)


def take_away(base: Path) -> None:
    """Whatever is left: processes, mounts."""
    for home in base.glob("home-*"):
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ProcessLookupError):
                if not entry.name.isdigit() or b"engine.agent\0agent" in (entry / "cmdline").read_bytes():
                    continue
                if b"BCS_HOME=" + os.fsencode(home) in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
        for place in documents.places(home):
            directory = documents.read_recipe(place).dir
            while subprocess.run(["umount", "-l", directory], capture_output=True).returncode == 0:
                pass


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    why = why_not(request.param, os.fsencode(tmp_path))
    if why:
        pytest.skip(why)
    return str(request.param)


def test_a_tree_on_a_host_is_there_at_once_and_whole_in_the_end(scene: Scene, mechanism: str) -> None:
    target, source = scene.hosts.base / "back", scene.source
    told = scene.begin(target, "--mechanism", mechanism, "--rate", "1KiB")
    assert told["mechanism"] == mechanism and told["host"] == "b" and told["dir"] == str(target)
    assert sorted(each.name for each in target.iterdir()) == sorted(each.name for each in source.iterdir())
    assert (target / "large").stat().st_size == LARGE
    assert set(scene.pids(told["id"])) >= {ROLE, FILLER}
    with (target / "large").open("rb") as file, (source / "large").open("rb") as right:
        file.seek(5 << 20)
        right.seek(5 << 20)
        assert file.read(4096) == right.read(4096)
    assert sha(target / "dir" / "7" / "file") == sha(source / "dir" / "7" / "file")
