"""Drills through a real node and the command line: what passes, and every planted fault that must make one fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env.processes import is_root
from engine.journal import control
from engine.model.ids import parse_address, stream_id
from engine.store.local import LocalStore
from tests.embedded import Site
from tests.receivers import web_server

GROUP = "demo"
ADDRESS = f"{GROUP}/localhost/files"
OTHER = f"{GROUP}/localhost/other"
WAIT_SECONDS = 180
KEEP, BACK = "at=$(stat -c %y dir/random)", 'touch -d "$at" dir/random'


def make_source(source: Path) -> None:
    source.mkdir()
    (source / "ledger.csv").write_text("a,b\n")
    (source / "dir").mkdir()
    (source / "dir" / "random").write_bytes(os.urandom(300_000))
    (source / "link").symlink_to("ledger.csv")
    (source / "closed").mkdir(mode=0o500)
    os.chmod(source / "ledger.csv", 0o640)


def source_of(address: str, path: Path) -> dict[str, Any]:
    return {
        "stream": stream_id(parse_address(address)),
        "address": address,
        "kind": "files",
        "site": "local",
        "paths": [str(path)],
        "exclude": [],
        "ignore": [],
        "labels": {},
        "settings": {},
        "rpo": "30s",
        "rto": "10m",
        "retention": [],
    }


def apply(site: Site, *drills: dict[str, Any], more: dict[str, Path] | None = None, **documents: Any) -> None:
    """Policies with the group's source, its drills, and sources beside it."""
    paths = {ADDRESS: site.home.parent / "source", **(more or {})}
    spec = {"drills": list(drills)} if drills else {}
    files = sorted((site.home / "journal" / "control" / "policies").glob("*.json"))
    body = {
        "base": len(files),
        "by": "a test",
        "documents": {f"ProtectionGroup/{GROUP}": {"spec": spec}, **documents},
        "sources": {address: source_of(address, path) for address, path in paths.items()},
    }
    site.request("POST", "/v1/policies", body)


def drilled(site: Site) -> dict[str, Any]:
    """What the status says of the group's drills."""
    [group] = site.request("GET", "/v1/status")["groups"]
    return dict(group["drill"])


def settled(site: Site, state: str) -> dict[str, Any]:
    """Wait for the node to have made the drills that it finds due, with this result."""
    site.wait(lambda: drilled(site)["state"] == state and not drilled(site)["running"], WAIT_SECONDS, f"state {state}")
    return drilled(site)


def drill(site: Site, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of the command."""
    done = site.run("drill", GROUP, *options, "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def failed(told: dict[str, Any]) -> list[str]:
    return [check["name"] for check in told["checks"] if check["passed"] is False]


def left(site: Site) -> list[str]:
    """What drills have left behind."""
    return sorted(path.name for path in (site.home / "drills").iterdir() if path.name != "lock")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that runs for all tests; each applies policies of its own."""
    place = tmp_path_factory.mktemp("drills")
    make_source(place / "source")
    with Site(place / "home").start() as made:
        apply(made)
        made.wait_protected(ADDRESS)
        yield made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A site for one test, which may break it."""
    make_source(tmp_path / "source")
    with Site(tmp_path / "home").start() as made:
        apply(made)
        made.wait_protected(ADDRESS)
        yield made


def test_a_group_without_drills_can_be_drilled_and_is_not_unproven_before(site: Site) -> None:
    apply(site)
    assert drilled(site)["state"] == "none"
    code, told = drill(site)
    assert (code, told["passed"], failed(told)) == (0, True, [])
    assert {check["name"] for check in told["checks"]} == {"restore", "checksums", "attributes", "rto", "rpo"}
    assert 0 < told["rto_seconds"] < 600 == told["rto_target_seconds"]
    assert 0 <= told["rpo_seconds"] < 60 and told["rpo_target_seconds"] == 30
    assert told["files"] == 2 and told["sources"][0]["point"] == site.source(ADDRESS)["point"]
    assert told["recorded"] and left(site) == []
    assert drilled(site)["last"]["id"] == told["id"]


def test_a_drill_that_is_due_is_made_by_the_node_and_not_again_after_a_restart(own: Site) -> None:
    apply(own, {"every": "1h", "checks": ["checksums", {"command": "test -s ledger.csv"}]})
    first = settled(own, "passed")["last"]
    assert (first["drill"], first["by"], first["passed"]) == (0, "node", True)
    assert own.source(ADDRESS)["protected"] == "protected"
    own.stop()
    own.start()
    own.wait_protected(ADDRESS)
    begun = "SELECT count(*) AS n FROM audit WHERE what = 'drilling'"
    for _ in range(3):  # several rounds of the job, each seen by an act of its own
        own.json("mark", GROUP, "--label", "later", "--again")
    assert own.json("query", begun)["rows"] == [[1]]
    assert drilled(own)["last"]["id"] == first["id"]
    # Other policies void it, and it is made once more under them.
    apply(own, {"every": "1h", "checks": ["checksums"]})
    own.wait(lambda: drilled(own)["last"]["id"] != first["id"], WAIT_SECONDS, "a drill under the new policies")
    assert settled(own, "passed")["last"]["passed"]
    [[details]] = own.json("query", "SELECT details FROM audit WHERE what = 'drill' ORDER BY at DESC LIMIT 1")["rows"]
    evidence = json.loads(details)
    assert (evidence["group"], evidence["policy"]["number"], evidence["checks_count"]) == (GROUP, 3, 5)
    assert evidence["where"]["host"] == socket.gethostname()


@pytest.mark.skipif(not is_root(), reason="owners and closed directories are root's")
@pytest.mark.parametrize(
    ("tampering", "row"),
    [
        (f"{KEEP}; printf x | dd of=dir/random bs=1 seek=299999 conv=notrunc status=none; {BACK}", "checksums"),
        ("rm ledger.csv", "checksums"),
        ("chmod 0600 ledger.csv", "attributes"),
        ("touch -d 2001-01-01 ledger.csv", "attributes"),
        ("setfattr -n user.more -v x ledger.csv || chown 7:7 ledger.csv", "attributes"),
    ],
)
def test_what_differs_between_restore_and_check_fails_the_drill(site: Site, tampering: str, row: str) -> None:
    apply(site, {"every": "1h", "checks": [{"command": tampering}, "checksums"]})
    assert "differs" in settled(site, "failed")["reason"]
    code, told = drill(site)
    assert (code, told["passed"], failed(told)) == (6, False, [row])
    assert site.source(ADDRESS)["protected"] == "unproven"
    assert site.source(ADDRESS)["condition"] == "unproven"
    assert left(site) == []


def test_a_command_that_fails_or_hangs_fails_the_drill_and_leaves_nothing_alive(site: Site) -> None:
    hanging = "setsid sleep 4321 & exec sleep 4321"
    checks = [
        {"command": ["sh", "-c", "echo it is broken >&2; exit 3"]},
        {"command": hanging, "timeout": "1s"},
        {"command": "no-such-program"},
    ]
    apply(site, {"every": "1h", "checks": checks})
    assert "it exited with 3" in settled(site, "failed")["reason"]
    code, told = drill(site)
    assert (code, failed(told)) == (1, ["command"] * 3)
    broken, late, missing = (check for check in told["checks"] if check["name"] == "command")
    assert (broken["message"], broken["output"].strip()) == ("it exited with 3", "it is broken")
    assert late["message"] == "it took longer than 1 s" and late["seconds"] < 300
    assert missing["message"] == "it exited with 127" and "no-such-program" in missing["output"]
    assert left(site) == []
    alive = subprocess.run(["pgrep", "-f", "sleep 4321"], capture_output=True, text=True).stdout.split()
    assert alive == []


def test_commands_reach_loopback_and_nothing_else_and_know_what_they_look_at(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        probe = (
            "import json, os, socket, sys\n"
            "inside = socket.create_server(('127.0.0.1', 0))\n"
            "socket.create_connection(inside.getsockname(), 5)\n"
            "reached = []\n"
            f"for to in (('127.0.0.1', {port}), ('198.51.100.1', 80)):\n"
            "    try: socket.create_connection(to, 5); reached.append(to)\n"
            "    except OSError: pass\n"
            "names = [name for _, name in socket.if_nameindex()]\n"
            "told = {k: v for k, v in os.environ.items() if k.startswith('BCS_')}\n"
            "print(json.dumps({'reached': reached, 'names': names, 'told': told, 'cwd': os.getcwd()}))\n"
        )
        checks = [{"command": ["/usr/bin/env", "python3", "-c", probe]}]
        apply(site, {"every": "1h", "restore": "random", "checks": checks})
        settled(site, "passed")
        code, told = drill(site)
    assert code == 0
    [row] = [check for check in told["checks"] if check["name"] == "command"]
    seen = json.loads(row["output"])
    assert (seen["reached"], seen["names"]) == ([], ["lo"])
    assert seen["cwd"] == seen["told"]["BCS_DRILL_DIR"] and seen["cwd"].endswith("/localhost/files")
    assert (seen["told"]["BCS_DRILL_GROUP"], seen["told"]["BCS_DRILL_AT"]) == (GROUP, told["moment"])
    assert "BCS_HOME" not in seen["told"]


def test_a_damaged_pack_fails_the_drill_and_people_are_told(own: Site) -> None:
    with web_server() as (url, got):
        notification = {"kind": "Notification", "metadata": {"name": "on-call"}}
        notification["spec"] = {"on": ["drill-failed"], "to": [{"webhook": url}]}
        apply(own, **{"Notification/on-call": notification})
        packs = [path for path in (own.home / "journal" / "packs").rglob("*") if path.is_file()]
        largest = max(packs, key=lambda path: path.stat().st_size)
        whole = largest.read_bytes()
        largest.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
        code, told = drill(own)
        assert (code, told["passed"]) == (6, False)
        assert failed(told) == ["restore"] and told["rto_seconds"] is None
        assert own.source(ADDRESS)["protected"] == "unproven"
        [notice] = got.wait(1, WAIT_SECONDS)[0]["notices"]
        assert (notice["event"], notice["subject"]) == ("drill-failed", GROUP)
        assert left(own) == []
        largest.write_bytes(whole)
        assert drill(own)[0] == 0
        assert drilled(own)["state"] == "none" and own.source(ADDRESS)["protected"] == "protected"


def test_a_source_without_a_point_fails_the_drill(own: Site) -> None:
    own.kill("agent")
    apply(own, more={OTHER: own.home.parent / "other"})
    code, told = drill(own, "--check", "checksums")
    assert (code, told["passed"]) == (1, False)
    rows = {(check["name"], check["address"]): check["passed"] for check in told["checks"]}
    assert rows["restore", OTHER] is False and rows["restore", ADDRESS] and rows["checksums", ADDRESS]


def test_what_is_not_there_is_no_drill_and_proves_nothing(site: Site) -> None:
    apply(site)
    before = drilled(site)["last"]
    for options in (["--at", "2020-01-01T00:00:00Z"], ["--at", "mark:nowhere"], ["--check", "commands"]):
        code, told = drill(site, *options)
        assert (code, told["error"]["code"]) == (5, "nothing-there")
    assert site.run("drill", "nobody", check=False).returncode == 5
    assert site.run("drill", GROUP, "--check", "sums", check=False).returncode == 2
    assert drilled(site)["last"] == before and left(site) == []


def test_commands_that_were_put_into_the_store_are_not_run(own: Site) -> None:
    apply(own)
    store = LocalStore(own.home / "journal")
    numbers = control.numbers(store, control.POLICIES)
    forged = control.read(store, control.POLICIES, numbers[-1])
    spec = {"drills": [{"every": "1d", "checks": [{"command": "true"}]}]}
    forged["documents"][f"ProtectionGroup/{GROUP}"] = {"spec": spec}
    control.follow(store, control.POLICIES, numbers[-1], {key: forged[key] for key in forged if key != "number"})
    code, told = drill(own)
    assert (code, failed(told)) == (1, ["command"])
    [row] = [check for check in told["checks"] if check["name"] == "command"]
    assert "nobody who may apply policies" in row["message"] and row["output"] == ""


def test_a_drill_below_a_directory_of_the_policy_and_one_without_room(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    apply(site, {"every": "1h", "scratch": str(place), "checks": [{"command": "pwd"}]})
    settled(site, "passed")
    code, told = drill(site)
    assert code == 0 and told["where"]["dir"].startswith(f"{place}/drill-")
    assert list(place.iterdir()) == []
    apply(site, {"every": "1h", "scratch": str(tmp_path / "nowhere")})
    assert "can't be made" in settled(site, "failed")["reason"]
    code, told = drill(site)
    assert (code, failed(told), told["recorded"]) == (4, ["room"], True)


def test_what_a_killed_drill_left_is_removed_by_the_next(own: Site, tmp_path: Path) -> None:
    place = tmp_path / "scratch"
    place.mkdir()
    apply(own, {"every": "1h", "scratch": str(place), "checks": [{"command": "exec sleep 4322"}]})
    own.wait(lambda: bool(sleeping()), WAIT_SECONDS, "the command of a drill")
    [mine] = own.request("GET", "/v1/status")["groups"]
    assert mine["drill"]["running"]
    killed = int(json.loads((own.home / "drills" / "lock").read_text())["pid"])
    os.kill(killed, signal.SIGKILL)
    own.wait(lambda: not sleeping(), WAIT_SECONDS, "its command to go with it")
    assert len(list(place.iterdir())) == 1
    shutil.copytree(own.home.parent / "source", own.home / "drills" / "drill-dead")
    apply(own)
    assert drill(own)[0] == 0
    assert list(place.iterdir()) == [] and left(own) == []


def test_a_node_that_stops_ends_its_drill_and_leaves_nothing(own: Site) -> None:
    apply(own, {"every": "1h", "checks": [{"command": "exec sleep 4323"}]})
    own.wait(lambda: bool(sleeping("sleep 4323")), WAIT_SECONDS, "the command of a drill")
    own.stop()
    assert sleeping("sleep 4323") == []
    assert left(own) == []


def sleeping(command: str = "sleep 4322") -> list[str]:
    return subprocess.run(["pgrep", "-fx", command], capture_output=True, text=True).stdout.split()
