"""Restores to another host onto what stands there: refused with numbers, looked at before, replaced name by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import acts
from tests.sample_tree import make_sample
from tests.spine.test_restore_afar import FILES, Hosts, differences, ended, protect_many, until_half_way

ADDRESS = "g/a/files"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts.up(tmp_path_factory.mktemp("onto"), "ab") as hosts:
        tree = hosts.base / "tree"
        tree.mkdir()
        make_sample(tree)
        hosts.site.protect(ADDRESS, tree)
        hosts.site.wait_protected(ADDRESS)
        yield hosts


@pytest.fixture
def tree(hosts: Hosts) -> Path:
    return hosts.base / "tree"


@pytest.fixture
def target(hosts: Hosts, tree: Path) -> Iterator[Path]:
    """A copy of the tree in which things are missing, other, of another type; and one that nobody else knows."""
    target = hosts.base / "there"
    subprocess.run(["cp", "-a", str(tree), str(target)], check=True)
    (target / "plain").unlink()
    (target / "plain").write_bytes(b"other")
    (target / "own").write_bytes(b"stays")
    shutil.rmtree(target / "dir" / "deeper")
    with open(target / "sparse", "r+b") as file:
        file.write(b"y")
    yield target
    shutil.rmtree(target)


def answer(begun: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any]]:
    out, said = begun.communicate(timeout=120)
    assert out, said
    return begun.returncode, json.loads(out)


def left_about(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".bcs*")]


def test_what_stands_there_is_refused_in_the_words_of_a_restore_here(hosts: Hosts, target: Path) -> None:
    here = hosts.site.run("restore", ADDRESS, "--to", str(target), "--json", check=False)
    wanted = json.loads(here.stdout)["error"]
    for more in ((), ("--dry-run",)):
        code, told = answer(hosts.restore(target, *more))
        assert code == 4 and told["error"]["message"] == f"host b: {wanted['message']}"
        assert told["error"]["hint"] == wanted["hint"] and told["error"]["details"] == wanted["details"]
    assert (target / "plain").read_bytes() == b"other" and left_about(target) == []


def test_a_look_says_what_would_be_replaced_and_touches_nothing(hosts: Hosts, target: Path) -> None:
    before = differences(hosts.base / "tree", target)
    here = hosts.site.json("restore", ADDRESS, "--to", str(target), "--overwrite", "--dry-run")
    code, told = answer(hosts.restore(target, "--overwrite", "--dry-run"))
    assert code == 0 and told["dry_run"]
    assert told["plan"]["standing"] == here["plan"]["standing"] and told["plan"]["standing"]["replaced"] > 0
    assert differences(hosts.base / "tree", target) == before
    opened = hosts.site.request("GET", "/v1/restores")["restores"]
    assert [row for row in opened if row["way"] == "look"] == []


def test_what_differs_alone_is_replaced(hosts: Hosts, tree: Path, target: Path) -> None:
    kept = (target / "dir" / "back\\slash").stat().st_ino
    told = ended(hosts.restore(target, "--overwrite", "--verify"))
    assert told["verified"] and told["read_back"] and told["failures"] == told["shortfalls"] == []
    assert told["kept"] > 0 and told["kept_aside"] == []
    assert (target / "dir" / "back\\slash").stat().st_ino == kept, "what was whole was written again"
    assert (target / "own").read_bytes() == b"stays"
    (target / "own").unlink()
    os.utime(target, ns=(tree.stat().st_mtime_ns,) * 2)
    assert differences(tree, target) == [] and left_about(target) == []
    ends = [act["details"] for act in acts(hosts.site.home) if act["details"].get("restore") == told["id"]]
    assert [end.get("overwrite") for end in ends] == [True, True]


def test_what_is_of_another_type_is_kept_aside(hosts: Hosts, tree: Path, target: Path) -> None:
    (target / "fifo").unlink()
    (target / "fifo").mkdir()
    (target / "fifo" / "in").write_bytes(b"in")
    shutil.rmtree(target / "read-only")
    (target / "read-only").write_bytes(b"a file")
    code, told = answer(hosts.restore(target, "--overwrite"))
    assert code == 4 and "taken by something else" in told["error"]["message"]
    assert told["error"]["details"]["conflicts_count"] == 2
    told = ended(hosts.restore(target, "--overwrite", "--aside"))
    assert told["verified"]
    end = f".before-{told['id']}"
    assert (target / f"fifo{end}" / "in").read_bytes() == b"in"
    assert (target / f"read-only{end}").read_bytes() == b"a file"
    assert (target / f"plain{end}").read_bytes() == b"other"
    aside = {path.name for path in target.rglob(f"*{end}")}
    assert {os.path.basename(path) for path in told["kept_aside"]} == aside
    for path in target.rglob(f"*{end}"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (target / "own").unlink()
    os.utime(target, ns=(tree.stat().st_mtime_ns,) * 2)
    assert differences(tree, target) == [] and left_about(target) == []


def test_owners_by_table_and_none(hosts: Hosts, tree: Path) -> None:
    table = hosts.base / "table"
    table.write_text(f"user {os.getuid()} = 4711 # ours\ngroup * = nogroup\nuser 1234 = 99\n")
    target = hosts.base / "mapped"
    told = ended(hosts.restore(target, "--owners", f"map:{table}", "--verify"))
    assert told["verified"] and told["read_back"]
    here = hosts.base / "mapped-here"
    hosts.site.json("restore", ADDRESS, "--to", str(here), "--owners", f"map:{table}")
    assert differences(here, target) == []
    assert (target / "plain").stat().st_uid == 4711
    none = hosts.base / "none"
    ended(hosts.restore(none, "--owners", "none"))
    assert {path.lstat().st_uid for path in none.rglob("*")} == {os.getuid()}
    for line, why in (("user 1 = nobody-there", "no user 'nobody-there' is known"), ("so what", "line 1")):
        table.write_text(line)
        code, wrong = answer(hosts.restore(hosts.base / "wrong", "--owners", f"map:{table}"))
        assert code == 2 and why in wrong["error"]["message"], wrong
    assert not (hosts.base / "wrong").exists()


def test_links_in_the_way_lead_nowhere(hosts: Hosts, target: Path) -> None:
    elsewhere = hosts.base / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(target / "dir")
    (target / "dir").symlink_to(elsewhere)
    told = ended(hosts.restore(target, "--overwrite", "--aside"))
    assert told["verified"] and list(elsewhere.iterdir()) == [] and (target / "dir" / "hard link").exists()
    assert os.path.samefile(target / "plain", target / "dir" / "hard link")


class Many:
    """A site of its own with a tree that takes a while."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.tree = hosts, protect_many(hosts)
        self.target = hosts.base / "target"
        self.target.mkdir()
        for number in range(0, FILES, 2):
            (self.target / f"f{number:03d}").write_bytes(b"old")
        (self.target / "own").write_bytes(b"own")

    def staging(self) -> Path:
        end = time.monotonic() + 120
        while not (found := list(self.target.glob(".bcs-restore-*"))):
            assert time.monotonic() < end
        return found[0]

    def old_or_new(self) -> None:
        for path in self.target.glob("f*"):
            assert path.read_bytes() in (b"old", (self.tree / path.name).read_bytes()), path


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Many]:
    with Hosts.up(tmp_path, "ab") as hosts:
        yield Many(hosts)


def test_who_is_killed_goes_on_and_who_cancels_changes_nothing(many: Many) -> None:
    hosts, target = many.hosts, many.target
    restore = hosts.restore(target, "--overwrite")
    until_half_way(many.staging())
    restore.send_signal(signal.SIGINT)
    restore.communicate(timeout=120)
    assert restore.returncode == 130
    hosts.site.wait(lambda: not left_about(target), 120, "what was made beside to go")
    assert {path.read_bytes() for path in target.glob("f*")} == {b"old"}
    restore = hosts.restore(target, "--overwrite", "--verify")
    until_half_way(many.staging())
    [pid] = hosts.receivers()
    os.kill(pid, signal.SIGKILL)
    many.old_or_new()
    told = ended(restore)
    assert told["verified"] and told["files"] == FILES and (target / "own").read_bytes() == b"own"
    (target / "own").unlink()
    os.utime(target, ns=(many.tree.stat().st_mtime_ns,) * 2)
    assert differences(many.tree, target) == [] and left_about(target) == []
