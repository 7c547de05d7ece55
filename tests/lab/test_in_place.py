"""A restore in place on a real host: only what differs, undone by one command, through the loss of the host's power."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import ROOT
from tests.lab import topology
from tests.lab.fixture import running
from tests.lab.lab import Lab
from tests.lab.policies import TREE, site

ON_HOSTS = Path(__file__).parent / "on_hosts"
SOURCE = "sf-db1"
ADDRESS = f"work/{SOURCE}/files"
FILES, FILE_BYTES, HALF_WAY = 200, 1 << 20, 20
SLOW_MBIT = 80.0
"""At which most of a restore is still to come when its first files are there."""

FILL = f"""
import os, pathlib
tree = pathlib.Path("{TREE}")
(tree / "dir" / "deep").mkdir(parents=True)
(tree / "dir" / "deep" / "file").write_text("below")
(tree / "text").write_text("first")
os.link(tree / "text", tree / "also text")
(tree / "link").symlink_to("text")
os.setxattr(tree / "text", "user.note", b"1")
os.chown(tree / "dir", 1234, 1234)
for number in range({FILES}):
    data = os.urandom({FILE_BYTES} // 2) + bytes([number]) * ({FILE_BYTES} // 2)
    (tree / ("f%03d" % number)).write_bytes(data)
"""
CHANGE = f"""
import os, pathlib, shutil
tree = pathlib.Path("{TREE}")
shutil.rmtree(tree / "dir")
(tree / "dir").write_text("a file now")
(tree / "also text").unlink()
(tree / "also text").write_text("another")
os.chmod(tree / "text", 0o600)
(tree / "newer").mkdir()
(tree / "newer" / "file").write_text("did not exist")
for number in range(0, {FILES}, 2):
    (tree / ("f%03d" % number)).unlink()
with open(tree / "f001", "r+b") as file:
    file.seek(300000)
    file.write(b"x" * 100)
"""


class Scene:
    def __init__(self, lab: Lab, policies: Path) -> None:
        self.lab, self.policies, self.host = lab, policies, lab.hosts[SOURCE]

    def command(self, *arguments: str) -> list[str]:
        return [str(ROOT / ".venv" / "bin" / "bcsctl"), *arguments, "--json"]

    def bcsctl(self, *arguments: str) -> Any:
        return json.loads(self.lab.controller.run(self.command(*arguments), cwd=self.policies).stdout)

    def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, self.bcsctl("status")
            time.sleep(0.3)

    def protected(self) -> bool:
        rows = [row for group in self.bcsctl("status")["groups"] for row in group["sources"]]
        return all(row["protected"] == "protected" for row in rows)

    def manifest(self) -> list[str]:
        self.host.write("/root/manifest.py", (ON_HOSTS / "manifest.py").read_text())
        return sorted(self.host.run(["python3", "/root/manifest.py", TREE]).stdout.splitlines())

    def changed(self) -> tuple[list[str], str]:
        """Change the tree once the node has it; what it was, and the moment that says so."""
        self.until(self.protected)
        label = f"before-{time.monotonic_ns()}"
        assert all(mark["done"] for mark in self.bcsctl("mark", "work", "--label", label)["marks"])
        before = self.manifest()
        self.host.write("/root/change.py", CHANGE)
        self.host.run(["python3", "/root/change.py"])
        return before, f"mark:{label}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running(topology.default("inplace")) as lab:
        policies = tmp_path_factory.mktemp("policies")
        (policies / "site.yaml").write_text(site(lab.inventory, SOURCE))
        source = lab.hosts[SOURCE]
        source.write("/root/fill.py", FILL)
        source.run(["python3", "/root/fill.py"])
        scene = Scene(lab, policies)
        applied = scene.bcsctl("apply", "--yes", "--wait")
        assert applied["converged"], applied
        scene.until(scene.protected)
        yield scene


def test_it_comes_back_where_it_stood_and_goes_again(scene: Scene) -> None:
    before, moment = scene.changed()
    after = scene.manifest()
    planned = scene.bcsctl("restore", ADDRESS, "--at", moment, "--in-place", "--exact", "--dry-run")
    assert planned["plan"]["remove"] >= 2 and scene.manifest() == after
    told = scene.bcsctl("restore", ADDRESS, "--at", moment, "--in-place", "--exact", "--verify")
    assert told["verified"] and told["read_back"] and told["failures"] == told["shortfalls"] == [], told
    assert scene.manifest() == before
    back = scene.bcsctl("restore", ADDRESS, "--at", told["undo"], "--in-place", "--exact", "--verify")
    assert back["verified"] and scene.manifest() == after
    assert scene.bcsctl("restore", ADDRESS, "--at", moment, "--in-place", "--exact")["verified"]
    assert scene.manifest() == before


def test_the_host_loses_power_half_way(scene: Scene) -> None:
    before, moment = scene.changed()
    scene.host.wan(rate_mbit=SLOW_MBIT)
    restore = scene.lab.controller.popen(
        scene.command("restore", ADDRESS, "--at", moment, "--in-place", "--exact"),
        cwd=scene.policies, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait = f'while [ "$(ls {TREE}/f* | wc -l)" -lt {FILES // 2 + HALF_WAY} ]; do :; done; ls {TREE}/f* | wc -l'
    there = int(scene.host.run(["sh", "-c", wait]).stdout)
    assert there < FILES, "the restore was too fast to be caught half-way"
    scene.host.power_off()
    scene.host.wan()
    scene.host.power_on()
    out, said = restore.communicate(timeout=400)
    assert restore.returncode == 0, (out, said)
    assert scene.manifest() == before
