"""`restore --in-place` of another host's source: its agent changes what differs, and there is a way back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fidelity.walker import differences, walk
from tests.nodes import acts
from tests.spine.test_restore_afar import Hosts
from tests.spine.test_restore_in_place import CHANGES, LARGE, make_source

ADDRESS = "g/a/files"


class Scene:
    def __init__(self, hosts: Hosts, source: Path) -> None:
        self.hosts, self.site, self.source = hosts, hosts.site, source

    def changed(self, change: Callable[[Path], object]) -> str:
        """Make a change, wait until it is captured; the moment before it."""
        self.site.json("mark", "g", "--label", "before")
        change(self.source)
        (self.source / "stamp").write_text(str(time.monotonic_ns()))
        self.captured(self.source / "stamp")
        return "mark:before"

    def captured(self, file: Path) -> None:
        """Wait until the newest point has what a file holds."""
        wanted = f"{ADDRESS}:{file}"
        self.site.wait(lambda: self.site.run("cat", wanted, check=False).stdout == file.read_bytes(), 60, wanted)

    def back(self, at: str, *more: str, check: bool = True) -> dict[str, Any]:
        done = self.site.run("restore", ADDRESS, "--at", at, "--in-place", *more, "--json", check=False)
        told = dict(json.loads(done.stdout))
        assert not check or done.returncode == 0, (told, done.stderr)
        return {**told, "code": done.returncode}

    def tree(self) -> Any:
        return walk(self.source)


@pytest.fixture
def scene(hosts: Hosts) -> Scene:
    source = hosts.base / "source"
    make_source(source)
    hosts.site.protect(ADDRESS, source)
    hosts.site.wait_protected(ADDRESS)
    return Scene(hosts, source)


@pytest.mark.parametrize("change", CHANGES)
def test_the_tree_as_it_was_and_back_as_it_is(scene: Scene, change: Callable[[Path], object]) -> None:
    before = scene.tree()
    at = scene.changed(change)
    after = scene.tree()
    told = scene.back(at, "--exact", "--verify")
    assert told["verified"] and not told["failures"] and told["host"] == "a"
    assert differences(before, scene.tree()) == []
    back = scene.back(told["undo"], "--exact", "--verify")
    assert back["verified"]
    assert differences(after, scene.tree()) == []
    assert not list(scene.source.rglob(".bcs-*"))


def test_what_differs_alone_is_written_and_recorded(scene: Scene) -> None:
    def inside(source: Path) -> None:
        with open(source / "large", "r+b") as file:
            file.seek(LARGE // 2)
            file.write(b"x" * 100)

    at = scene.changed(inside)
    planned = scene.back(at, "--exact", "--dry-run")
    assert planned["dry_run"] and planned["plan"]["rewrite"] == 1 and planned["plan"]["remove"] == 1
    assert planned["plan"]["changes"]["change"] == [{"path": f"{scene.source}/large"}]
    assert (scene.source / "stamp").exists()
    inode = (scene.source / "large").stat().st_ino
    told = scene.back(at)
    assert told["bytes"] < 1 << 20 and (scene.source / "large").stat().st_ino == inode
    assert (scene.source / "stamp").exists(), "what did not exist then stays without --exact"
    mine = [act for act in acts(scene.site.home) if act["details"].get("restore") == told["id"]]
    assert [act["what"] for act in mine] == ["restoring", "restore"]
    assert all(act["details"]["in_place"] and act["details"]["undo"] == told["undo"] for act in mine)


def test_a_file_in_many_batches_comes_back_whole(scene: Scene) -> None:
    large, size = scene.source / "many", 24 << 20
    large.write_bytes(os.urandom(size))
    scene.captured(large)
    was = scene.tree()

    def change(source: Path) -> None:
        with open(large, "r+b") as file:
            for at in range(0, size, 1 << 19):
                file.seek(at)
                file.write(os.urandom(500_000))
        (source / "gone").unlink()
        scene.captured(large)

    at = scene.changed(change)
    told = scene.back(at, "--exact", "--verify")
    assert told["verified"] and told["bytes"] > size * 9 // 10
    assert differences(was, scene.tree()) == []


def test_work_that_went_on_refuses_the_whole(scene: Scene) -> None:
    """Somebody writes without pause: what the mark says is not what is there any more."""
    at = scene.changed(lambda source: (source / "text").write_text("second\n"))
    writer = subprocess.Popen(
        [sys.executable, "-c", f"while True: open({str(scene.source / 'text')!r}, 'w').write('on and on')"]
    )
    try:
        told = scene.back(at, "--exact", check=False)
    finally:
        writer.kill()
        writer.wait()
    assert told["code"] == 4 and "changed since the mark" in told["error"]["message"]
    assert (scene.source / "stamp").exists()


def test_links_put_in_the_way_lead_nowhere(scene: Scene) -> None:
    """Whoever owns a directory may put a link in its place: nothing is written where it leads."""
    elsewhere = scene.hosts.base / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)

    def change(source: Path) -> None:
        (source / "dir" / "deep" / "file").unlink()
        (source / "dir").rename(source / "moved")
        (source / "dir").symlink_to(elsewhere)

    before = scene.tree()
    at = scene.changed(change)
    told = scene.back(at, "--exact")
    assert told["verified"] and differences(before, scene.tree()) == []
    assert list((elsewhere / "deep").iterdir()) == []


def test_who_is_killed_goes_on(scene: Scene) -> None:
    for number in range(60):
        (scene.source / f"f{number}").write_bytes(os.urandom(1 << 20))
    scene.site.wait_protected(ADDRESS)
    before = scene.tree()
    at = scene.changed(lambda source: [(source / f"f{number}").unlink() for number in range(60)])
    restore = scene.hosts.command("restore", ADDRESS, "--at", at, "--in-place", "--exact", "--verify")
    end = time.monotonic() + 120
    while len(list(scene.source.glob("f*"))) < 5:
        assert time.monotonic() < end and restore.poll() is None
    [pid] = scene.hosts.receivers("a")
    os.kill(pid, signal.SIGKILL)
    out, said = restore.communicate(timeout=300)
    assert restore.returncode == 0, (out, said)
    assert differences(before, scene.tree()) == []


def test_one_that_is_broken_off_ends_and_says_how_to_go_back(scene: Scene) -> None:
    for number in range(60):
        (scene.source / f"f{number}").write_bytes(os.urandom(1 << 20))
    scene.site.wait_protected(ADDRESS)
    at = scene.changed(lambda source: [(source / f"f{number}").unlink() for number in range(60)])
    after = scene.tree()
    restore = scene.hosts.command("restore", ADDRESS, "--at", at, "--in-place", "--exact")
    end = time.monotonic() + 120
    while len(list(scene.source.glob("f*"))) < 5:
        assert time.monotonic() < end and restore.poll() is None
    restore.send_signal(signal.SIGINT)
    _, said = restore.communicate(timeout=120)
    assert restore.returncode == 130
    [undo] = [line for line in said.decode().splitlines() if "not finished" in line]
    label = undo.split("--at mark:")[1].split()[0]
    last = [act["details"] for act in acts(scene.site.home) if act["what"] == "restore"][-1]
    assert (last["state"], last["verified"], last["undo"]) == ("cancelled", False, f"mark:{label}")
    scene.site.wait(lambda: not scene.hosts.receivers("a"), 120, "the receiver to end")
    scene.site.wait_protected(ADDRESS)
    assert scene.back(f"mark:{label}", "--exact")["verified"]
    assert differences(after, scene.tree()) == []


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Hosts.up(tmp_path, "a") as hosts:
        yield hosts
