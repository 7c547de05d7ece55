"""A host's source recovered on demand at its own place: history goes on from the point, in an epoch of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.fill.life.choosing import why_not
from tests.fidelity.walker import differences, walk
from tests.nodes import acts
from tests.spine.test_on_demand_afar import MECHANISMS, take_away, tending
from tests.spine.test_restore_afar import ADDRESS, Hosts

BIG = 24 << 20


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    source = tmp_path / "source"
    (source / "dir").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(BIG))
    for number in range(20):
        (source / "dir" / f"f{number:02d}").write_bytes(os.urandom(20_000 + number))
    (source / "link").symlink_to("dir/f01")
    os.link(source / "dir" / "f00", source / "further name")
    with Hosts.up(tmp_path, "a") as made:
        made.site.protect(ADDRESS, source)
        made.site.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            take_away(made)


def recover(hosts: Hosts, *more: str) -> dict[str, Any]:
    target = f"a:{hosts.base / 'source'}"
    done = hosts.site.run(
        "restore", ADDRESS, "--at", "mark:whole", "--to", target, "--on-demand", *more, "--json", check=False
    )
    told = dict(json.loads(done.stdout))
    assert done.returncode == 0, (told, done.stderr)
    return told


def captured(hosts: Hosts, path: Path, content: bytes) -> None:
    wanted = f"{ADDRESS}:{path}"
    hosts.site.wait(lambda: hosts.site.run("cat", wanted, check=False).stdout == content, 120, f"{path} to be captured")


def sent(hosts: Hosts) -> int:
    return int(hosts.site.source(ADDRESS)["bytes_sent"])


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_history_goes_on_from_the_point(hosts: Hosts, mechanism: str) -> None:
    if why := why_not(mechanism, os.fsencode(hosts.base)):
        pytest.skip(why)
    site, source = hosts.site, hosts.base / "source"
    was = walk(source)
    assert all(mark["done"] for mark in site.json("mark", "g", "--label", "whole")["marks"])
    big = (source / "big").read_bytes()
    shutil.rmtree(source)
    site.wait(lambda: site.run("ls", f"{ADDRESS}:{source}", check=False).returncode != 0, 120, "the loss")
    before = sent(hosts)
    told = recover(hosts, "--rate", "1KiB", "--mechanism", mechanism)
    assert told["in_place"] and told["epoch"] == 2, told
    id = told["id"]
    with open(source / "big", "r+b") as file:
        file.seek(8 << 20)
        file.write(b"written while it fills")
    (source / "new").write_bytes(b"new")
    captured(hosts, source / "new", b"new")
    expected = bytearray(big)
    expected[8 << 20 : (8 << 20) + 22] = b"written while it fills"
    captured(hosts, source / "big", bytes(expected))
    listed = site.json("ls", f"{ADDRESS}:{source}")
    assert "dir" in {os.path.basename(each["path"]) for each in listed["entries"]}
    assert sent(hosts) - before < 200_000, "something cold was sent"
    agent = hosts.agents["a"]
    agent.kill()
    agent.wait()
    for pid in tending(hosts.base / "home-a", id):
        os.kill(pid, signal.SIGKILL)
    (source / "while the agent is dead").write_bytes(b"dead")
    hosts.start("a")
    captured(hosts, source / "while the agent is dead", b"dead")
    finished = site.json("recover", "finish", id)
    assert finished["state"] == "ended"
    assert (source / "big").read_bytes() == bytes(expected)
    site.wait(lambda: site.source(ADDRESS)["protected"] == "protected", 120, "protection")
    assert 0 <= sent(hosts) - before < 400_000, "what the journal had was sent again"
    site.json("restore", ADDRESS, "--to", str(hosts.base / "proof"), "--verify")
    assert differences(walk(source), walk(hosts.base / "proof")) == []
    site.json("restore", ADDRESS, "--at", "mark:whole", "--to", str(hosts.base / "then"), "--verify")
    assert differences(was, walk(hosts.base / "then")) == []
    named = [(act["what"], act["details"].get("restore"), act["details"].get("recovery")) for act in acts(site.home)]
    whats = [what for what, *ids in named if id in ids]
    assert whats == ["restoring", "recovery", "recover", "restore"]
