"""A tree recovered on demand at its own place that nobody guards for a while, or over which a cover lies: its history
stands still, and nothing that such a tree looks like is ever taken for what the source is."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from engine.env import processes
from engine.fill.life.recoveries import revive
from engine.fill.tree.cover import cover, is_covered, uncover
from tests import plug
from tests.embedded import Site
from tests.fidelity.walker import differences, walk
from tests.spine.test_on_demand_history import (
    ADDRESS,
    captured,
    end,
    lose,
    recover,
    restored,
    source_of,
)

FILES = 12
UNGUARDED = "not guarded"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if not processes.is_root():
        pytest.skip("covers are for root")
    source = tmp_path / "source"
    (source / "dir").mkdir(parents=True)
    for number in range(FILES):
        (source / "dir" / f"f{number:02d}").write_bytes(os.urandom(30_000 + number))
    (source / "big").write_bytes(os.urandom(4 << 20))
    with Site(tmp_path / "home") as made:
        made.start()
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            uncover(os.fsencode(source), "another")
            end(made)


def stands_still(site: Site) -> bool:
    return UNGUARDED in (site.source(ADDRESS)["message"] or "")


def points(site: Site) -> list[dict[str, Any]]:
    return list(site.json("points", ADDRESS)["points"])


def recovered(site: Site) -> str:
    """Lost, recovered and captured again: the id of a recovery that fills slowly."""
    told = recover(site, lose(site), "--rate", "1KiB", "--mechanism", "pre-access")
    source = source_of(site)
    (source / "stamp").write_bytes(b"before")
    captured(site, source / "stamp", b"before")
    return str(told["id"])


def killed_and_covered(site: Site, id: str) -> IO[str]:
    """All of its processes are killed, and the agent, which stood still meanwhile, covers the tree. Another supervisor,
    which it begins too, comes to nothing until what is answered is closed."""
    agent = site.agent
    assert agent is not None
    plug.stop({agent.pid})
    try:
        plug.pull(site.home)
        lock = plug.only_supervisor(site.home)
    finally:
        agent.send_signal(signal.SIGCONT)
    site.wait(lambda: is_covered(os.fsencode(source_of(site)), id), 120, "the agent to cover the tree")
    return lock


def test_an_unguarded_tree_and_its_cover_are_never_taken_for_the_source(site: Site) -> None:
    source = source_of(site)
    whole = walk(source)
    id = recovered(site)
    before = {point["point"] for point in points(site)}
    unguarded = killed_and_covered(site, id)
    uncover(os.fsencode(source), id)
    # Somebody reads zeros now, and writes what he made of them; and something that is meant.
    with open(source / "big", "r+b") as file:
        file.seek(1 << 20)
        file.write(bytes(1 << 20))
    (source / "dir" / "meant").write_bytes(b"meant")
    site.wait(lambda: stands_still(site), 120, "capture to stand still")
    assert {point["point"] for point in points(site)} == before, "a point was set on what nobody guards"

    begun = time.monotonic()
    marked = site.run("mark", "demo", "--label", "whilebad", "--json", check=False)
    assert time.monotonic() - begun < 90
    [mark] = json.loads(marked.stdout)["marks"]
    assert marked.returncode == 1 and not mark["done"]
    assert "stands still" in mark["reason"] and UNGUARDED in mark["reason"]
    for more in ((), ("--dry-run",)):
        assert site.run("restore", ADDRESS, "--in-place", *more, check=False).returncode == 4

    unguarded.close()
    revive(site.home)
    captured(site, source / "dir" / "meant", b"meant")
    after = [point for point in points(site) if point["point"] not in before]
    assert after
    for point in after:
        assert site.run("ls", f"{ADDRESS}:{source}/big", "--at", f"point:{point['point']}").stdout
    versions = json.dumps(site.json("log", f"{ADDRESS}:{source}/dir/f01")["entries"])
    assert "removed" not in versions, versions
    assert site.run(
        "restore", ADDRESS, "--at", "mark:whilebad", "--to", str(source.parent / "x"), check=False
    ).returncode
    assert site.run("restore", ADDRESS, "--in-place", check=False).returncode == 4, "it still fills"
    gaps = [gap for gap in site.json("points", ADDRESS)["gaps"] if UNGUARDED in gap["reason"]]
    assert gaps
    zeros = bytes(1 << 20)
    with open(source / "big", "rb") as file:
        file.seek(1 << 20)
        assert file.read(1 << 20) == zeros
    found = restored(site, "now")
    assert (source.parent / "now" / "big").read_bytes()[1 << 20 : 2 << 20] == zeros, "what was written counts"
    names = (b"dir/f01", b"dir/f11")
    assert differences({name: whole[name] for name in names}, {name: found[name] for name in names}) == []


def test_a_cover_over_a_source_is_not_looked_at(site: Site) -> None:
    source = source_of(site)
    (source / "stamp").write_bytes(b"1")
    captured(site, source / "stamp", b"1")
    before = {point["point"] for point in points(site)}
    for restart in (False, True):
        if restart:
            site.kill("agent")
        cover(os.fsencode(source), "another")
        if restart:
            site.start_agent()
        site.wait(lambda: stands_still(site), 120, "capture to stand still")
        assert {point["point"] for point in points(site)} == before
        assert site.run("restore", ADDRESS, "--in-place", "--dry-run", check=False).returncode == 4
        uncover(os.fsencode(source), "another")
        word = b"restarted" if restart else b"2"
        (source / "stamp").write_bytes(word)
        captured(site, source / "stamp", word)
        listed = points(site)
        for point in listed:
            if point["point"] not in before:
                assert site.run("ls", f"{ADDRESS}:{source}/big", "--at", f"point:{point['point']}").stdout
        before = {point["point"] for point in listed}


def test_a_mark_that_was_waited_for_in_vain_is_not_set_later(site: Site) -> None:
    site.kill("agent")
    told = site.run("mark", "demo", "--label", "late", "--wait", "1", "--json", check=False)
    assert told.returncode == 1
    site.start_agent()
    source = source_of(site)
    (source / "stamp").write_bytes(b"back")
    captured(site, source / "stamp", b"back")
    assert site.json("mark", "demo", "--label", "in-time")["marks"][0]["done"]
    assert site.run("ls", f"{ADDRESS}:{source}", "--at", "mark:late", check=False).returncode == 5


def test_a_tree_that_nobody_guards_is_guarded_again_by_itself(site: Site) -> None:
    """Where no systemd holds what all of its processes held: the agent covers it, and begins them again."""
    source = source_of(site)
    names = ("dir/f01", "dir/f11", "big")
    whole = {name: (source / name).read_bytes() for name in names}
    id = recovered(site)
    killed_and_covered(site, id).close()
    site.wait((source / "big").exists, 120, "the cover to go")
    assert [each["state"] for each in site.json("recover", "list")["recoveries"]] == ["filling"]
    (source / "stamp").write_bytes(b"after")
    captured(site, source / "stamp", b"after")
    assert {name: (source / name).read_bytes() for name in names} == whole
