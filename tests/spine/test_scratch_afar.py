"""Scratch on another host: made there, compared, promoted as it was kept, discarded; refused where it must be."""

from __future__ import annotations

import json
import os
import shutil
import signal
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
    with Hosts.up(tmp_path_factory.mktemp("scratch"), "ab") as hosts:
        tree = hosts.base / "tree"
        tree.mkdir()
        make_sample(tree)
        hosts.site.protect(ADDRESS, tree)
        hosts.site.wait_protected(ADDRESS)
        yield hosts


@pytest.fixture
def tree(hosts: Hosts) -> Path:
    return hosts.base / "tree"


def listed(hosts: Hosts) -> list[dict[str, Any]]:
    return list(hosts.site.json("restore", "list")["scratches"])


def made(hosts: Hosts, host: str = "b", *more: str) -> dict[str, Any]:
    """What is in scratch on a host, once the node has heard of it."""
    told = ended(hosts.command("restore", ADDRESS, "--to", f"{host}:scratch", *more))
    scratch = dict(told["scratch"])
    assert told["verified"] and told["read_back"] and scratch["state"] == "restored"
    hosts.site.wait(lambda: scratch["id"] in [row["id"] for row in listed(hosts)], 120, "the node to hear of it")
    return scratch


def refused(hosts: Hosts, code: int, *words: str) -> dict[str, Any]:
    done = hosts.site.run(*words, "--json", check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return dict(json.loads(done.stdout)["error"])


def test_from_scratch_to_its_place(hosts: Hosts, tree: Path) -> None:
    scratch = made(hosts)
    place = Path(scratch["tree"])
    assert place.is_relative_to(hosts.base / "home-b" / "scratch") and differences(tree, place) == []
    [row] = listed(hosts)
    assert (row["host"], row["state"], row["address"]) == ("b", "restored", ADDRESS)
    assert place.parent.stat().st_mode & 0o077 == 0
    plan = hosts.site.json("restore", ADDRESS, "--to", "b:scratch", "--dry-run")["plan"]
    assert row["bytes"] == scratch["bytes"] == plan["data_bytes"] < plan["bytes"], "holes are nothing that it takes"
    checked = hosts.site.json("restore", "check", scratch["id"])
    assert checked["checked"]["passed"] and checked["scratch"]["state"] == "checked"
    assert "no command" in refused(hosts, 2, "restore", "check", scratch["id"], "--check", "true")["message"]
    target, inode = hosts.base / "promoted", (place / "plain").stat().st_ino
    target.mkdir()
    (target / "live").write_bytes(b"live")
    error = refused(hosts, 4, "restore", "promote", scratch["id"], "--to", str(target))
    assert "is there already" in error["message"] and error["details"]["files"] == 1
    told = hosts.site.json("restore", "promote", scratch["id"], "--to", str(target), "--aside")
    assert (target / "plain").stat().st_ino == inode, "renamed, not copied"
    [move] = told["moves"]
    assert (Path(move["aside"]) / "live").read_bytes() == b"live" and differences(tree, target) == []
    hosts.site.wait(lambda: listed(hosts) == [], 120, "it to be gone")
    mine = [act for act in acts(hosts.site.home) if act["details"].get("scratch") == scratch["id"]]
    ends = [(act["what"], act["details"]["state"]) for act in mine if "state" in act["details"]]
    assert ends == [("restore", "done"), ("scratch-check", "done"), ("promote", "failed"), ("promote", "done")]
    last = mine[-1]["details"]
    assert last["host"] == "b" and last["target"] == str(target) and last["verified"] and last["aside"]
    assert last["checks"] == [{"command": "(bytes and attributes)", "code": 0, "seconds": last["checks"][0]["seconds"]}]


def test_what_was_changed_there_is_found_and_not_promoted(hosts: Hosts) -> None:
    scratch = made(hosts)
    with open(Path(scratch["tree"]) / "plain", "r+b") as file:
        file.write(b"J")
    done = hosts.site.run("restore", "check", scratch["id"], "--json", check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 6 and told["checked"]["changes"] == [
        {"path": "dir/hard link", "what": "content"}, {"path": "plain", "what": "content"}
    ]  # fmt: skip
    why = refused(hosts, 4, "restore", "promote", scratch["id"], "--to", str(hosts.base / "no"))
    assert "--check" not in str(why), "no command is run on a host"
    assert not (hosts.base / "no").exists()
    assert hosts.site.json("restore", "discard", scratch["id"])["host"] == "b"
    assert not Path(scratch["tree"]).parent.exists()
    hosts.site.wait(lambda: listed(hosts) == [], 120, "it to be gone")
    assert refused(hosts, 5, "restore", "discard", scratch["id"])


def test_beside_and_back_to_where_it_came_from(hosts: Hosts, tree: Path) -> None:
    """On the source's own host it goes back to its place without being told where that is."""
    scratch = made(hosts, "a", "--scratch", str(hosts.base))
    assert Path(scratch["tree"]).parent == hosts.base / f"bcs-scratch-{scratch['id']}"
    (tree / "plain").write_bytes(b"lost")
    inode = (Path(scratch["tree"]) / "plain").stat().st_ino
    told = hosts.site.json("restore", "promote", scratch["id"], "--aside")
    [move] = told["moves"]
    assert move["to"] == str(tree) and not move["copied"]
    assert (tree / "plain").stat().st_ino == inode and (Path(move["aside"]) / "plain").read_bytes() == b"lost"
    shutil.rmtree(move["aside"])
    hosts.site.wait_protected(ADDRESS)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("/etc/bcs-test-nothing", "belongs to the system"),
        ("{base}/home-b/x", "own files"),
        ("{base}/loose/deep/x", "others than root may rename"),
        ("{base}/link/x", "by a link"),
    ],
)
def test_it_is_not_promoted_to_where_nothing_may_be_restored(hosts: Hosts, target: str, why: str) -> None:
    (hosts.base / "loose" / "deep").mkdir(parents=True, exist_ok=True)
    (hosts.base / "loose").chmod(0o777)
    (hosts.base / "real").mkdir(exist_ok=True)
    if not (hosts.base / "link").exists():
        (hosts.base / "link").symlink_to(hosts.base / "real")
    known = [row["id"] for row in listed(hosts)]
    id = known[0] if known else made(hosts)["id"]
    error = refused(hosts, 4, "restore", "promote", id, "--to", target.format(base=hosts.base))
    assert why in error["message"], error


def test_checks_are_refused_before_anything_is_made(hosts: Hosts) -> None:
    known = [row["id"] for row in listed(hosts)]
    error = refused(hosts, 2, "restore", ADDRESS, "--to", "b:scratch", "--check", "true")
    assert "no command is run on a host" in error["message"] and "as root" in error["hint"]
    assert [row["id"] for row in listed(hosts)] == known


def test_a_receiver_that_is_killed_goes_on_and_a_cancelled_one_leaves_nothing(tmp_path: Path) -> None:
    with Hosts.up(tmp_path, "ab") as hosts:
        tree = protect_many(hosts)
        folder = hosts.base / "home-b" / "scratch"

        def half_way() -> Path:
            hosts.site.wait(lambda: list(folder.glob("*/tree")) != [], 120, "it to begin")
            [place] = folder.glob("*/tree")
            until_half_way(place)
            return place

        restore = hosts.command("restore", ADDRESS, "--to", "b:scratch")
        half_way()
        restore.send_signal(signal.SIGINT)
        restore.communicate(timeout=120)
        hosts.site.wait(lambda: list(folder.iterdir()) == [], 120, "what was made to go")
        restore = hosts.command("restore", ADDRESS, "--to", "b:scratch")
        place = half_way()
        [pid] = hosts.receivers()
        os.kill(pid, signal.SIGKILL)
        told = ended(restore)
        assert told["files"] == FILES and told["scratch"]["tree"] == str(place) and differences(tree, place) == []
