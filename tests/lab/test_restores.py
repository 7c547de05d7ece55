"""Restores to another of several real hosts: everything a file can be; line, receiver or node fail half-way."""

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
NODE, SOURCE, SPARE = "sf-bcs1", "sf-db1", "sf-db3"
ADDRESS = f"work/{SOURCE}/files"
FILES, FILE_BYTES, HALF_WAY = 150, 1 << 20, 10
SLOW_MBIT = 80.0
"""At which most of a restore is still to come when its first files are there."""

FILL = f"""
import os, pathlib, sys
sys.path.insert(0, "/root")
made = os.mknod
def mknod(*arguments):
    try:
        made(*arguments)
    except PermissionError:  # not every lab lets its hosts make devices
        pass
os.mknod = mknod
from sample_tree import make_sample
sample = pathlib.Path("{TREE}/sample")
sample.mkdir(parents=True)
make_sample(sample)
for number in range({FILES}):
    data = os.urandom({FILE_BYTES} // 2) + bytes([number]) * ({FILE_BYTES} // 2)
    pathlib.Path("{TREE}/f%03d" % number).write_bytes(data)
"""


class Scene:
    def __init__(self, lab: Lab, policies: Path) -> None:
        self.lab, self.policies = lab, policies

    def command(self, *arguments: str) -> list[str]:
        return [str(ROOT / ".venv" / "bin" / "bcsctl"), *arguments, "--json"]

    def bcsctl(self, *arguments: str) -> Any:
        return json.loads(self.lab.controller.run(self.command(*arguments), cwd=self.policies).stdout)

    def begin(self, target: str, *more: str, watched: str = "") -> subprocess.Popen[str]:
        """A restore to the spare host that is half-way; until then over a thin line. `watched` is where its files
        appear, a pattern, if that is not the target."""
        self.lab.hosts[SPARE].wan(rate_mbit=SLOW_MBIT)
        restore = self.lab.controller.popen(
            self.command("restore", ADDRESS, "--to", f"{SPARE}:{target}", *more),
            cwd=self.policies, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait = f'while [ "$(ls $1 2>/dev/null | wc -l)" -lt {HALF_WAY} ]; do :; done; ls $1 | wc -l'
        there = int(self.lab.hosts[SPARE].run(["sh", "-c", wait, "sh", watched or target]).stdout)
        assert there < FILES, "the restore was too fast to be caught half-way"
        self.lab.hosts[SPARE].wan()
        return restore

    def end(self, restore: subprocess.Popen[str], target: str) -> None:
        out, said = restore.communicate(timeout=400)
        assert restore.returncode == 0, (out, said)
        assert json.loads(out)["verified"]
        self.equal(target)

    def manifest(self, host: str, tree: str) -> list[str]:
        machine = self.lab.hosts[host]
        machine.write("/root/manifest.py", (ON_HOSTS / "manifest.py").read_text())
        return sorted(machine.run(["python3", "/root/manifest.py", tree]).stdout.splitlines())

    def equal(self, target: str) -> None:
        there, live = set(self.manifest(SPARE, target)), set(self.manifest(SOURCE, TREE))
        assert there == live, (sorted(live - there)[:3], sorted(there - live)[:3])
        assert len(live) > FILES

    def until(self, condition: Callable[[], Any], seconds: float = 120.0) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, self.bcsctl("status")
            time.sleep(0.3)

    def protected(self) -> bool:
        rows = [row for group in self.bcsctl("status")["groups"] for row in group["sources"]]
        return all(row["protected"] == "protected" for row in rows)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running(topology.default("restores")) as lab:
        policies = tmp_path_factory.mktemp("policies")
        (policies / "site.yaml").write_text(site(lab.inventory, "sf-db1", spare="sf-db3"))
        source = lab.hosts[SOURCE]
        source.write("/root/sample_tree.py", (ROOT / "tests" / "sample_tree.py").read_text())
        source.write("/root/fill.py", FILL)
        source.run(["python3", "/root/fill.py"])
        scene = Scene(lab, policies)
        applied = scene.bcsctl("apply", "--yes", "--wait")
        assert applied["converged"], applied
        scene.until(scene.protected)
        yield scene


def test_everything_arrives_as_it_was(scene: Scene) -> None:
    told = scene.bcsctl("restore", f"work/{SOURCE}/files", "--to", f"{SPARE}:/restored/whole", "--verify")
    assert told["verified"] and told["read_back"] and told["failures"] == told["shortfalls"] == [], told
    scene.equal("/restored/whole")


def test_the_line_is_cut(scene: Scene) -> None:
    restore = scene.begin("/restored/cut")
    scene.lab.hosts[SPARE].cut()
    time.sleep(8)
    scene.lab.hosts[SPARE].heal()
    scene.end(restore, "/restored/cut")


def test_the_node_loses_power(scene: Scene) -> None:
    restore = scene.begin("/restored/node")
    scene.lab.hosts[NODE].power_off()
    scene.lab.hosts[NODE].power_on()
    scene.end(restore, "/restored/node")


def test_the_receiver_loses_power(scene: Scene) -> None:
    restore = scene.begin("/restored/receiver")
    scene.lab.hosts[SPARE].power_off()
    scene.lab.hosts[SPARE].power_on()
    scene.end(restore, "/restored/receiver")


def test_onto_what_stands_there_though_power_is_lost(scene: Scene) -> None:
    """Half of the files are gone, others hold something else: they come back, and nobody loses what was never named."""
    target, spare = "/restored/onto", scene.lab.hosts[SPARE]
    assert scene.bcsctl("restore", ADDRESS, "--to", f"{SPARE}:{target}")["verified"]
    spare.run(["sh", "-c", f"cd {target} && rm f0* && for f in f10? f11?; do echo old > $f; done && echo mine > own"])
    refused = scene.lab.controller.run(
        scene.command("restore", ADDRESS, "--to", f"{SPARE}:{target}"), cwd=scene.policies, check=False
    )
    assert refused.returncode == 4 and "would be replaced" in refused.stdout, refused.stdout
    looked = scene.bcsctl("restore", ADDRESS, "--to", f"{SPARE}:{target}", "--overwrite", "--dry-run")
    assert looked["plan"]["standing"]["files"] == 20, looked
    restore = scene.begin(target, "--overwrite", "--verify", watched=f"{target}/.bcs-restore-*")
    spare.power_off()
    spare.power_on()
    out, said = restore.communicate(timeout=400)
    assert restore.returncode == 0, (out, said)
    told = json.loads(out)
    assert told["verified"] and told["read_back"] and told["kept"] >= FILES - 120, told
    assert spare.run(["cat", f"{target}/own"]).stdout == "mine\n"
    assert spare.run(["sh", "-c", f"rm {target}/own; ls -a {target}"]).stdout.count(".bcs") == 0
    spare.run(["touch", "-d", f"@{scene.lab.hosts[SOURCE].run(['stat', '-c', '%.Y', TREE]).stdout.strip()}", target])
    scene.equal(target)


def test_scratch_on_a_host_is_promoted_as_it_was_kept(scene: Scene) -> None:
    scene.lab.hosts[SPARE].run(["mkdir", "-p", "/restored"])
    made = scene.bcsctl("restore", ADDRESS, "--to", f"{SPARE}:scratch", "--scratch", "/restored")["scratch"]
    scene.until(lambda: scene.bcsctl("restore", "list")["scratches"])
    scene.equal(made["tree"])
    assert scene.bcsctl("restore", "check", made["id"])["checked"]["passed"]
    told = scene.bcsctl("restore", "promote", made["id"], "--to", "/restored/promoted")
    assert [move["copied"] for move in told["moves"]] == [False]
    scene.equal("/restored/promoted")
    scene.until(lambda: not scene.bcsctl("restore", "list")["scratches"])
