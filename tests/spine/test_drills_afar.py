"""Drills on a host of the site: a node and agents of two hosts, all on one machine; host a's group is drilled on b."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.env.processes import is_root
from engine.journal import control
from engine.model.ids import parse_address, stream_id
from engine.store.local import LocalStore
from tests.spine.test_drills import failed, make_source, sleeping, source_of
from tests.spine.test_restore_afar import Hosts

GROUP = "g"
ADDRESS = f"{GROUP}/a/files"
WAIT_SECONDS = 180


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    base = tmp_path_factory.mktemp("afar")
    make_source(base / "source")
    with Hosts.up(base, "ab") as made:
        apply(made)
        made.site.wait_protected(ADDRESS)
        yield made


def apply(hosts: Hosts, *drills: dict[str, Any]) -> None:
    spec = {"drills": list(drills)} if drills else {}
    files = sorted((hosts.site.home / "journal" / "control" / "policies").glob("*.json"))
    body = {
        "base": len(files),
        "by": "a test",
        "documents": {f"ProtectionGroup/{GROUP}": {"spec": spec}},
        "sources": {ADDRESS: source_of(ADDRESS, hosts.base / "source")},
    }
    hosts.site.request("POST", "/v1/policies", body)


def drill(hosts: Hosts, *options: str) -> tuple[int, dict[str, Any]]:
    done = hosts.site.run("drill", GROUP, *options, "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def drilled(hosts: Hosts) -> dict[str, Any]:
    [group] = hosts.site.request("GET", "/v1/status")["groups"]
    return dict(group["drill"])


def settled(hosts: Hosts, state: str) -> dict[str, Any]:
    hosts.site.wait(
        lambda: drilled(hosts)["state"] == state and not drilled(hosts)["running"], WAIT_SECONDS, f"state {state}"
    )
    return drilled(hosts)


def left(hosts: Hosts, host: str = "b") -> list[str]:
    """What drills have left at a host."""
    folder = hosts.base / f"home-{host}" / "agent" / "drills"
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return sorted(name for name in names if name not in ("lock", "place") and not name.endswith(".job.json"))


def rows(told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [check for check in told["checks"] if check["name"] == name]


def test_the_node_has_a_host_make_the_drill_that_is_due_and_has_the_evidence(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "host": "b", "checks": ["checksums", {"command": "sleep 2; test -s ledger.csv"}]})
    last = settled(hosts, "passed")["last"]
    assert (last["by"], last["drill"]) == ("node", 0) and 0 < last["rto_seconds"] < last["seconds"] - 1.5
    assert hosts.site.source(ADDRESS)["protected"] == "protected"
    query = "SELECT details FROM audit WHERE what = 'drill' ORDER BY at DESC LIMIT 1"
    [[details]] = hosts.site.json("query", query)["rows"]
    evidence = json.loads(details)
    assert evidence["where"]["host"] == "b" and evidence["id"] == last["id"]
    names = [check["name"] for check in evidence["checks"]]
    assert names == ["restore", "checksums", "attributes", "command", "rto", "rpo"]
    assert (evidence["files"], evidence["sources"][0]["address"]) == (2, ADDRESS)
    assert evidence["rpo_seconds"] < 33 and left(hosts) == []
    code, told = drill(hosts)
    assert (code, failed(told), told["recorded"], told["where"]["host"]) == (0, [], True, "b")
    restores = "SELECT count(*) FROM audit WHERE what IN ('restore', 'restoring')"
    assert hosts.site.json("query", restores)["rows"] == [[0]]


def test_commands_reach_loopback_and_nothing_else(hosts: Hosts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = outside.getsockname()[1]
        probe = (
            "import json, os, socket\n"
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
        apply(hosts, {"every": "1h", "host": "b", "checks": [{"command": ["/usr/bin/env", "python3", "-c", probe]}]})
        settled(hosts, "passed")
        code, told = drill(hosts)
    assert code == 0
    seen = json.loads(rows(told, "command")[0]["output"])
    assert (seen["reached"], seen["names"]) == ([], ["lo"])
    assert seen["cwd"] == seen["told"]["BCS_DRILL_DIR"] and seen["cwd"].endswith("/content/a/files")
    assert str(hosts.base / "home-b") in seen["cwd"]
    assert (seen["told"]["BCS_DRILL_GROUP"], seen["told"]["BCS_DRILL_AT"]) == (GROUP, told["moment"])


@pytest.mark.skipif(not is_root(), reason="owners are root's")
@pytest.mark.parametrize(
    ("tampering", "row"),
    [
        ("at=$(stat -c %y dir/random); printf x | dd of=dir/random bs=1 seek=9 conv=notrunc status=none;"
         ' touch -d "$at" dir/random', "checksums"),
        ("chmod 0600 ledger.csv", "attributes"),
    ],
)  # fmt: skip
def test_what_differs_there_fails_the_drill_and_other_policies_void_it(hosts: Hosts, tampering: str, row: str) -> None:
    apply(hosts, {"every": "1h", "host": "b", "checks": [{"command": tampering}, "checksums"]})
    assert "differs" in settled(hosts, "failed")["reason"]
    code, told = drill(hosts)
    assert (code, failed(told)) == (6, [row])
    assert hosts.site.source(ADDRESS)["protected"] == "unproven" and left(hosts) == []
    apply(hosts, {"every": "1h", "host": "b", "restore": "random"})
    assert settled(hosts, "passed")["last"]["passed"]


def test_beside_the_policy_and_below_a_directory_of_it(hosts: Hosts, tmp_path: Path) -> None:
    apply(hosts)
    code, told = drill(hosts, "--host", "b", "--check", "checksums")
    assert (code, told["drill"], told["where"]["host"]) == (0, None, "b")
    (tmp_path / "scratch").mkdir()
    apply(hosts, {"every": "1h", "host": "b", "scratch": str(tmp_path / "scratch"), "checks": [{"command": "pwd"}]})
    settled(hosts, "passed")
    code, told = drill(hosts)
    assert code == 0 and rows(told, "command")[0]["output"].startswith(f"{tmp_path}/scratch/drill-")
    assert list((tmp_path / "scratch").iterdir()) == []
    code, told = drill(hosts, "--host", "nowhere")
    assert (code, failed(told)) == (1, ["host"]) and "no agent of host 'nowhere'" in rows(told, "host")[0]["message"]
    code, told = drill(hosts, "--host", "b", "--at", "2020-01-01T00:00:00Z")
    assert (code, told["error"]["code"]) == (5, "nothing-there")


def test_a_host_is_sent_no_command_but_the_applied_policys(hosts: Hosts) -> None:
    apply(hosts, {"every": "1d", "host": "b", "checks": [{"command": "true"}]})
    settled(hosts, "passed")
    store = LocalStore(hosts.site.home / "journal")
    latest = control.numbers(store, control.POLICIES)[-1]
    from engine.plan.drills import group_in

    policy = group_in(control.read(store, control.POLICIES, latest), GROUP)
    assert policy is not None
    stream = stream_id(parse_address(ADDRESS))
    point = hosts.site.source(ADDRESS)["point"]
    body = {
        "id": "0" * 16, "group": GROUP, "host": "b", "digest": policy.digest, "at": "latest", "scratch": "",
        "parts": [{"address": ADDRESS, "stream": stream, "position": point, "at": 0, "class": "quiet"}],
        "checks": [{"name": "command", "command": f"touch {hosts.base}/pwned", "timeout": 1_000_000}],
    }  # fmt: skip
    for changes, why in (
        ({}, "applied policy alone"),
        ({"digest": "other", "checks": []}, "another one by now"),
        ({"checks": [], "scratch": "/srv"}, "no directory of the policy"),
        ({"checks": [], "parts": [{**body["parts"][0], "stream": "f" * 20}]}, "no sources of"),
    ):
        with pytest.raises(AssertionError, match=why):
            hosts.site.request("POST", "/v1/drills", {**body, **changes})
    # One that lies in the store, and was applied by nobody, runs nowhere.
    forged = control.read(store, control.POLICIES, latest)
    spec = {"drills": [{"every": "1d", "host": "b", "checks": [{"command": f"touch {hosts.base}/pwned"}]}]}
    forged["documents"][f"ProtectionGroup/{GROUP}"] = {"spec": spec}
    control.follow(store, control.POLICIES, latest, {key: forged[key] for key in forged if key != "number"})
    code, told = drill(hosts)
    assert (code, failed(told)) == (1, ["command"]) and "nobody who may apply" in rows(told, "command")[0]["message"]
    assert not (hosts.base / "pwned").exists()


def test_a_damaged_pack_and_a_full_disk_fail_it(hosts: Hosts) -> None:
    apply(hosts)
    packs = [path for path in (hosts.site.home / "journal" / "packs").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    largest.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    try:
        code, told = drill(hosts, "--host", "b", "--check", "checksums")
    finally:
        largest.write_bytes(whole)
    assert (code, failed(told)[0], told["rto_seconds"]) == (6, "restore", None), told["checks"]
    assert left(hosts) == []


def test_a_killed_drill_is_noticed_and_what_it_left_goes_with_the_next(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "host": "b", "checks": [{"command": "exec sleep 4341"}]})
    hosts.site.wait(lambda: bool(sleeping("sleep 4341")), WAIT_SECONDS, "the command of a drill")
    assert left(hosts) != []
    [made] = of_home("engine.agent.drill.process", hosts.base / "home-b")
    os.kill(made, signal.SIGKILL)
    assert "cut off" in settled(hosts, "failed")["reason"]
    hosts.site.wait(lambda: left(hosts) == [] and not sleeping("sleep 4341"), WAIT_SECONDS, "nothing to be left")
    apply(hosts)
    assert drill(hosts, "--host", "b")[0] == 0 and left(hosts) == []


def test_an_agent_that_goes_ends_its_drill_and_clears_up(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "host": "b", "restore": "-1s", "checks": [{"command": "exec sleep 4343"}]})
    hosts.site.wait(lambda: bool(sleeping("sleep 4343")), WAIT_SECONDS, "the command of a drill")
    hosts.agents["b"].terminate()
    hosts.agents["b"].wait(120)
    assert sleeping("sleep 4343") == [] and left(hosts) == []
    hosts.start("b")
    assert "cut off" in settled(hosts, "failed")["reason"]


def test_who_calls_it_off_has_it_ended_there(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "host": "b", "checks": [{"command": "exec sleep 4342"}]})
    hosts.site.wait(lambda: bool(sleeping("sleep 4342")), WAIT_SECONDS, "the command of a drill")
    [made] = of_home("engine.recovery.drill.process", hosts.site.home)
    os.kill(made, signal.SIGTERM)
    hosts.site.wait(lambda: not sleeping("sleep 4342") and left(hosts) == [], WAIT_SECONDS, "it to be ended there")


def of_home(module: str, home: Path) -> list[int]:
    """The processes of a module that work for a home."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if module.encode() in words and os.fsencode(f"BCS_HOME={home}\0") in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
