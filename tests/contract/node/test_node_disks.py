"""Full and damaged disks under a node as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.wire.batch import BatchBuilder
from tests.nodes import (
    HOST,
    STOP_SECONDS,
    Writer,
    file_of,
    files_in,
    objects,
    process_node,
    run_serve,
    wait_for,
)


def mark(builder: BatchBuilder) -> None:
    builder.mark(1, "pass", point_class="quiet")


@pytest.mark.parametrize("which", ["L0", "packs", "streams", "keys", "control/policies"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_object_is_named_at_the_start(tmp_path: Path, which: str, damage: str) -> None:
    with process_node(tmp_path / "home") as node:
        writer = Writer(node, f"group/{HOST}/files").protect()
        writer.send(file_of(b"x" * 100, kind="baseline"))
        assert node.stop(STOP_SECONDS) == 0
    victim = sorted(objects(node.home, which))[0]
    path = node.home / "journal" / victim
    content = bytearray(path.read_bytes())
    content[-20 if which == "packs" else len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    if which == "packs":  # not looked at before somebody reads it: then it shows
        with process_node(node.home) as again:
            assert again.call("GET", f"/v1/streams/{writer.stream}/ls").status == 200
            answer = again.call("GET", f"/v1/streams/{writer.stream}/cat?path=/file")
            assert (answer.status, answer.error["code"]) == (500, "damaged")
            assert victim in answer.error["message"] + str(answer.error["details"])
        return
    done = run_serve(node.home)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert victim in said and "bcsctl check" in said and "Traceback" not in said
    assert not (node.home / "run" / "node.pid").exists()


def test_a_missing_commit_is_noticed_at_the_start(tmp_path: Path) -> None:
    with process_node(tmp_path / "home") as node:
        writer = Writer(node, f"group/{HOST}/files").protect()
        for _ in range(3):
            writer.send(file_of(b"x" * 100, kind="baseline"))
        assert node.stop(STOP_SECONDS) == 0
    (node.home / "journal" / sorted(objects(node.home, "L0"))[2]).unlink()
    with process_node(node.home) as again:
        # Other streams go on; what the hole takes away is not handed out as if it were whole.
        answer = again.call("GET", f"/v1/streams/{writer.stream}/ls")
        assert (answer.status, answer.error["code"]) == (500, "damaged")
        Writer(again, f"other/{HOST}/files").protect().send(mark)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 24 MiB; skipped where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_told_and_got_over(small_disk: Path) -> None:
    with process_node(small_disk / "home") as node:
        writer = Writer(node, f"group/{HOST}/files").protect()
        first = os.urandom(1 << 20)
        writer.send(file_of(first, b"first", kind="baseline"))
        filler = small_disk / "filler"
        with filler.open("wb") as file:  # all but what a small object needs
            file.write(bytes(shutil.disk_usage(small_disk).free - (256 << 10)))
        refused = writer.batch(file_of(os.urandom(1 << 20), b"second"))
        for _ in range(3):
            answer = writer.post(refused)
            assert (answer.status, answer.error["code"]) == (507, "not-committed"), answer.text
            assert "No space left" in answer.error["message"]
        with filler.open("ab") as file:  # and now to the last byte
            file.write(bytes(shutil.disk_usage(small_disk).free))
        assert writer.post(refused).status == 507
        other = {"base": 1, "documents": {}, "sources": {}, "by": "me"}
        answer = node.call("POST", "/v1/policies", other)
        assert (answer.status, answer.error["code"]) == (507, "no-space")
        assert node.call("POST", "/v1/audit", {"what": "x", "who": "me"}).status == 507
        assert node.call("GET", "/v1/health").json["policies"] == 1
        assert node.call("GET", "/v1/status").status == 200
        filler.unlink()
        wait_for(lambda: writer.post(refused).status == 200, 120, "the node to go on")
        assert set(files_in(node.home, writer)) == {b"/first", b"/second"}
        assert files_in(node.home, writer)[b"/first"] == first
        assert node.call("POST", "/v1/audit", {"what": "x", "who": "me"}).status == 201
        assert "Traceback" not in node.log()
        assert node.stop(STOP_SECONDS) == 0
