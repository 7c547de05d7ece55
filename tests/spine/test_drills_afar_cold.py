"""Drills by on-demand start on a host of the site: commands run there over trees that are cold, filled by its node."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.fill.life.choosing import why_not
from tests.spine.test_drills import failed, make_source, sleeping
from tests.spine.test_drills_afar import ADDRESS, WAIT_SECONDS, apply, drill, left, of_home, rows, settled
from tests.spine.test_restore_afar import Hosts

LARGE = 48 << 20


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    base = tmp_path_factory.mktemp("afar-cold")
    if all(why_not(name, os.fsencode(base)) for name in ("pre-access", "fuse")):
        pytest.skip("nothing fills a tree on demand here")
    make_source(base / "source")
    (base / "source" / "large").write_bytes(os.urandom(LARGE))
    with Hosts.up(base, "ab") as made:
        apply(made)
        made.site.wait_protected(ADDRESS)
        yield made


def fillers(hosts: Hosts) -> list[int]:
    """Processes that belong to a tree of a drill of host b."""
    below, found = os.fsencode(hosts.base / "home-b" / "agent" / "drills"), []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"--place" in words and any(word.startswith(below) for word in words):
            found.append(int(entry.name))
    return found


def nothing_left(hosts: Hosts) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text()
    return left(hosts) == [] and fillers(hosts) == [] and str(hosts.base / "home-b") not in mounts


def test_commands_run_there_over_cold_trees_and_rto_is_the_first_that_passes(hosts: Hosts) -> None:
    source = hosts.base / "source"
    wanted = f"tail -c 4096 large | cmp - <(tail -c 4096 {source}/large)"
    commands = ["exit 1", f"sleep 1; cmp ledger.csv {source}/ledger.csv", ["bash", "-c", f"sleep 3; {wanted}"]]
    apply(hosts, {"every": "1h", "onDemand": "cancel", "host": "b", "checks": [{"command": each} for each in commands]})
    assert "exited with 1" in settled(hosts, "failed")["reason"]
    code, told = drill(hosts)
    assert (code, failed(told), told["where"]["host"]) == (1, ["command"], "b"), told
    assert told["on_demand"]["afterwards"] == "cancel" and told["on_demand"]["mechanisms"]
    second = rows(told, "command")[1]
    assert told["on_demand"]["usable_seconds"] + second["seconds"] <= told["rto_seconds"]
    assert 1 <= told["rto_seconds"] < told["seconds"] - 2.5  # the one after it is no part of it
    assert nothing_left(hosts)
    assert hosts.site.json("recover", "list", "--all")["recoveries"] == []


def test_it_is_filled_and_read_back_and_what_was_changed_meanwhile_differs(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "onDemand": "verify", "host": "b"})
    assert settled(hosts, "passed")["last"]["rto_seconds"] > 0
    code, told = drill(hosts)
    assert (code, told["on_demand"]["afterwards"]) == (0, "verify"), told
    names = {check["name"] for check in told["checks"]}
    assert names == {"restore", "first-reads", "fill", "checksums", "attributes", "rpo"} | ({"rto"} & names)
    assert told["files"] == 3 and told["bytes"] > LARGE and nothing_left(hosts)
    keep = "at=$(stat -c %y large); printf x | dd of=large bs=1 seek=70000 conv=notrunc status=none"
    changing = [{"command": f'{keep}; touch -d "$at" large'}]
    apply(hosts, {"every": "1h", "onDemand": "verify", "host": "b", "checks": changing})
    assert "differs" in settled(hosts, "failed")["reason"]
    code, told = drill(hosts)
    assert (code, failed(told)) == (6, ["checksums"])
    assert hosts.site.source(ADDRESS)["protected"] == "unproven" and nothing_left(hosts)


def test_one_beside_the_policy_and_damage_where_it_is_filled(hosts: Hosts) -> None:
    apply(hosts)
    code, told = drill(hosts, "--host", "b", "--on-demand")
    assert (code, told["drill"], told["on_demand"]["afterwards"], rows(told, "fill")) == (0, None, "cancel", []), told
    packs = [path for path in (hosts.site.home / "journal" / "packs").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    at = len(whole) // 2
    largest.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    try:
        code, told = drill(hosts, "--host", "b", "--on-demand", "--then", "fill")
    finally:
        largest.write_bytes(whole)
    assert code == 6 and failed(told) == ["fill"], told["checks"]
    assert nothing_left(hosts)


def test_a_killed_one_leaves_trees_that_go_again(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "onDemand": "cancel", "host": "b", "checks": [{"command": "exec sleep 4351"}]})
    hosts.site.wait(lambda: bool(sleeping("sleep 4351")), WAIT_SECONDS, "the command of a drill")
    [made] = of_home("engine.agent.drill.process", hosts.base / "home-b")
    assert fillers(hosts)
    os.kill(made, signal.SIGKILL)
    assert "cut off" in settled(hosts, "failed")["reason"]
    hosts.site.wait(lambda: not sleeping("sleep 4351") and nothing_left(hosts), WAIT_SECONDS, "nothing to be left")


def test_who_calls_it_off_has_the_trees_taken_away_there(hosts: Hosts) -> None:
    apply(hosts, {"every": "1h", "onDemand": "cancel", "host": "b", "checks": [{"command": "exec sleep 4352"}]})
    hosts.site.wait(lambda: bool(sleeping("sleep 4352")), WAIT_SECONDS, "the command of a drill")
    [made] = of_home("engine.recovery.drill.process", hosts.site.home)
    os.kill(made, signal.SIGTERM)
    hosts.site.wait(lambda: not sleeping("sleep 4352") and nothing_left(hosts), WAIT_SECONDS, "it to be ended there")
