"""A tree recovered on demand at its own place: history goes on from the point, and nothing cold is ever shipped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.fill.base import BLOCK_BYTES, LIVING
from engine.fill.kept import documents, map, table
from engine.fill.life.recoveries import revive
from tests import plug
from tests.embedded import Site
from tests.fidelity.walker import differences, walk

ADDRESS = "demo/localhost/files"
BIG = 24 << 20
SMALL_FILES = 30


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    (source / "dir" / "deep").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(BIG))
    for number in range(SMALL_FILES):
        (source / "dir" / f"f{number:02d}").write_bytes(os.urandom(20_000 + number))
    (source / "dir" / "deep" / "log").write_bytes(b"line\n" * 10_000)
    os.link(source / "dir" / "f00", source / "further name")
    (source / "link").symlink_to("dir/f01")
    with open(source / "sparse", "wb") as file:
        file.truncate(5 << 20)
        file.seek(3 << 20)
        file.write(os.urandom(100_000))
    os.chmod(source / "dir" / "f02", 0o600)
    with Site(tmp_path / "home") as made:
        made.start()
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            end(made)


def end(site: Site) -> None:
    """At the end of a test: their agent, which would begin them again, and all of their processes and mounts."""
    site.kill("agent")
    plug.take_away(site.home)


def source_of(site: Site) -> Path:
    return site.home.parent / "source"


def lose(site: Site) -> str:
    """A mark, then the tree is gone, and the node knows; the mark's moment."""
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "whole")["marks"])
    shutil.rmtree(source_of(site))
    site.wait(lambda: site.run("ls", f"{ADDRESS}:{source_of(site)}", check=False).returncode != 0, 120, "the loss")
    return "mark:whole"


def recover(site: Site, at: str, *more: str) -> dict[str, Any]:
    done = site.run(
        "restore", ADDRESS, "--at", at, "--to", str(source_of(site)), "--on-demand", *more, "--json", check=False
    )
    told = dict(json.loads(done.stdout))
    assert done.returncode == 0, (told, done.stderr)
    assert told["epoch"] is not None
    return told


def sent(site: Site) -> int:
    """Bytes of batches that the agent has sent since it started."""
    return int(json.loads(site.run("agent", "status", "--json", check=False).stdout)["sources"][0]["bytes_sent"])


def captured(site: Site, path: Path, content: bytes) -> None:
    wanted = f"{ADDRESS}:{path}"
    site.wait(lambda: site.run("cat", wanted, check=False).stdout == content, 120, f"{path} to be captured")


def state(site: Site) -> str:
    [place] = documents.places(site.home)
    return documents.read_state(place).state


def cold_bytes(site: Site) -> int:
    """What is not filled of the only recovery, holes with it."""
    [place] = documents.places(site.home)
    known = map.Map(place.map)
    try:
        ranges = [(file.first_block, file.first_block + file.blocks) for file in table.read(place.files)]
        return sum(known.count_cold(*each) for each in ranges) * BLOCK_BYTES
    finally:
        known.close()


def restored(site: Site, folder: str, at: str = "latest") -> Any:
    target = site.home.parent / folder
    told = site.json("restore", ADDRESS, "--at", at, "--to", str(target), "--verify")
    assert told["verified"]
    return walk(target)


@pytest.mark.parametrize("mechanism", ["pre-access", "fuse"])
def test_writes_while_it_fills_are_kept_and_nothing_cold_is_sent(site: Site, mechanism: str) -> None:
    source = source_of(site)
    whole = walk(source)
    at = lose(site)
    lost = site.json("points", ADDRESS)["points"][-1]["point"]
    before = sent(site)
    told = recover(site, at, "--rate", "1KiB", "--mechanism", mechanism)
    site.wait(lambda: site.source(ADDRESS)["state"] == "protected", 120, "capture to go on")
    assert names(source) == set(whole)
    content = bytearray((source / "dir" / "f03").read_bytes())
    with open(source / "dir" / "f03", "r+b") as file:
        file.seek(9_000)
        file.write(b"changed")
    content[9_000:9_007] = b"changed"
    captured(site, source / "dir" / "f03", bytes(content))
    with open(source / "big", "r+b") as file:
        file.seek(10 << 20)
        file.write(b"in the middle of what is cold")
    (source / "new").write_bytes(b"new\n" * 100)
    (source / "dir" / "f04").unlink()
    (source / "dir" / "f05").rename(source / "dir" / "moved")
    os.truncate(source / "dir" / "f06", 1_000)
    with open(source / "dir" / "deep" / "log", "ab") as file:
        file.write(b"one more\n")
    os.chmod(source / "dir" / "f07", 0o640)
    captured(site, source / "new", b"new\n" * 100)
    captured(site, source / "dir" / "deep" / "log", b"line\n" * 10_000 + b"one more\n")
    assert state(site) in LIVING, "it was to be filling still"
    assert sent(site) - before < 200_000, "something cold was sent"
    found = restored(site, "while it fills")
    [place] = documents.places(site.home)
    site.run("recover", "finish", told["id"])
    site.wait(lambda: state(site) not in LIVING, 120, "the end of filling")
    site.wait(lambda: (place.path / "captured").exists(), 120, "capture to know by itself")
    assert differences(found, walk(source)) == []
    assert sent(site) - before < 400_000
    (source / "dir" / "f08").write_bytes(b"after the end")
    captured(site, source / "dir" / "f08", b"after the end")
    assert differences(restored(site, "after the end"), walk(source)) == []
    assert differences(whole, restored(site, "as it was", at)) == []
    [aside] = site.json("log", f"{ADDRESS}:{source / 'dir' / 'f03'}")["beside"]
    assert (aside["cause"], aside["entries"][-1]["change"]) == (f"recovery {told['id']}", "removed")
    row, listed = site.source(ADDRESS), site.json("points", ADDRESS)
    counted = [len(listed["gaps"]), sum(len(branch["gaps"]) for branch in listed["branches"])]
    assert [row["gaps"], row["gaps_beside"]] == counted
    gone = site.run("restore", ADDRESS, "--at", f"point:{lost}", "--to", str(site.home.parent / "lost"), check=False)
    assert gone.returncode in (0, 5)


def names(path: Path) -> set[bytes]:
    """All names below a directory, without a look at what is in files."""
    root = os.fsencode(path)
    found = {b"."}
    for above, directories, files in os.walk(root):
        found |= {os.path.relpath(os.path.join(above, name), root) for name in (*directories, *files)}
    return found


def write_some(site: Site, word: bytes) -> None:
    """Two writes into what is cold, and a new file; captured when this returns."""
    source = source_of(site)
    with open(source / "big", "r+b") as file:
        for offset in (3 << 20, 17 << 20):
            file.seek(offset)
            file.write(word * 100)
    (source / "dir" / "f10").write_bytes(word)
    (source / "stamp").write_bytes(word)
    captured(site, source / "stamp", word)
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", word.decode().strip("!"))["marks"])


def expected(whole: Any, big: bytearray, word: bytes) -> dict[bytes, bytes]:
    """What the files that `write_some` has written to must hold."""
    for offset in (3 << 20, 17 << 20):
        big[offset : offset + 100 * len(word)] = word * 100
    return {b"big": bytes(big), b"dir/f10": word, b"stamp": word}


@pytest.mark.parametrize("mechanism", ["pre-access", "fuse"])
def test_the_plug_is_pulled_in_the_middle(site: Site, mechanism: str) -> None:
    source = source_of(site)
    whole, big = walk(source), bytearray((source / "big").read_bytes())
    at = lose(site)
    recover(site, at, "--rate", "1KiB", "--mechanism", mechanism)
    site.wait(lambda: site.source(ADDRESS)["state"] == "protected", 120, "capture to go on")
    write_some(site, b"first")
    site.kill("agent")
    (source / "dir" / "f11").write_bytes(b"while nobody captured")
    site.start_agent()
    captured(site, source / "dir" / "f11", b"while nobody captured")
    write_some(site, b"second")
    assert sent(site) < 200_000, "something cold was sent"
    assert cold_bytes(site) > BIG * 2 // 3, "capture had it filled"
    wanted = expected(whole, big, b"second") | {b"dir/f11": b"while nobody captured"}

    site.kill("agent")
    plug.pull(site.home)
    site.kill("node")
    site.start_node()
    restored(site, "elsewhere")
    elsewhere = site.home.parent / "elsewhere"
    for name, content in wanted.items():
        assert (elsewhere / os.fsdecode(name)).read_bytes() == content, name
    others = {name: facts for name, facts in whole.items() if name not in wanted and name not in (b".", b"dir")}
    found = {name: facts for name, facts in walk(elsewhere).items() if name in others}
    assert differences(others, found) == []

    # Nothing keeps readers waiting now: what is cold reads as zeros, and nobody may take them for content.
    nobody = plug.only_supervisor(site.home)
    site.start_agent()
    site.wait(lambda: "not guarded" in (site.source(ADDRESS)["message"] or ""), 120, "capture to stand still")
    newest = site.json("points", ADDRESS)["points"][-1]["point"]
    nobody.close()
    revive(site.home)
    write_some(site, b"third!")
    assert site.json("points", ADDRESS)["points"][-1]["point"] != newest
    [place] = documents.places(site.home)
    site.run("recover", "finish", place.path.name)
    site.wait(lambda: (place.path / "captured").exists(), 120, "capture to know by itself")
    found = differences(walk(source), restored(site, "in the end"))
    assert [each for each in found if each[1] != "data"] == [], "holes may be zeros, bytes are what they are"
    assert (source / "big").read_bytes() == expected(whole, big, b"third!")[b"big"]


def test_both_branches_are_there(site: Site) -> None:
    source = source_of(site)
    (source / "dir" / "f12").write_bytes(b"before the loss")
    captured(site, source / "dir" / "f12", b"before the loss")
    at = lose(site)
    (source).mkdir()
    (source / "after").write_bytes(b"made in the rubble")
    captured(site, source / "after", b"made in the rubble")
    branch = site.json("points", ADDRESS)["points"][-1]["point"]
    shutil.rmtree(source)
    told = recover(site, at)
    (source / "on the new one").write_bytes(b"new")
    captured(site, source / "on the new one", b"new")
    listed = site.json("points", ADDRESS)
    assert listed["points"][-1]["point"].split(".")[0] == str(told["epoch"])
    assert branch not in [point["point"] for point in listed["points"]]
    [old] = listed["branches"]
    assert old["epoch"] == 1 and old["points"] >= 1
    inside = site.run("cat", f"{ADDRESS}:{source}/after", "--at", f"point:{branch}").stdout
    assert inside == b"made in the rubble"
    assert site.run("cat", f"{ADDRESS}:{source}/after", check=False).returncode == 5
    versions = site.json("log", f"{ADDRESS}:{source}/dir/f12")["entries"]
    assert versions
    site.run("recover", "finish", told["id"])


def test_in_another_source_it_is_taken_once_it_is_whole(site: Site) -> None:
    other = site.home.parent / "other"
    other.mkdir()
    (other / "own").write_bytes(b"own")
    site.protect("demo/localhost/other", other)
    site.wait_protected("demo/localhost/other")
    back = ["--to", str(other / "back"), "--into-protected"]
    done = site.run("restore", ADDRESS, *back, "--on-demand", "--rate", "1KiB", "--json")
    told = dict(json.loads(done.stdout))
    assert not told["in_place"] and told["epoch"] is None
    (other / "own").write_bytes(b"changed")
    wanted = f"demo/localhost/other:{other}"
    site.wait(lambda: site.run("cat", f"{wanted}/own", check=False).stdout == b"changed", 120, "capture to go on")
    progress = documents.read_progress(documents.place_of(site.home, told["id"]))
    assert progress.bytes_total - progress.bytes_filled > BIG // 2, "capture must not have it filled"
    assert site.run("cat", f"{wanted}/back/big", check=False).returncode == 5
    site.run("recover", "finish", told["id"])
    site.wait(lambda: site.run("ls", f"{wanted}/back/big", check=False).returncode == 0, 120, "the whole file")
    big = (source_of(site) / "big").read_bytes()
    site.wait(lambda: site.run("cat", f"{wanted}/back/big", check=False).stdout == big, 120, "its bytes")


def logged(site: Site) -> dict[str, Any]:
    """The versions of some files."""
    paths = [str(source_of(site) / name) for name in ("big", "sparse", "dir/f01", "dir/f20", "dir/deep/log")]
    return {path: site.json("log", f"{ADDRESS}:{path}")["entries"] for path in paths}


@pytest.mark.parametrize("mechanism", ["pre-access", "fuse"])
def test_fills_make_no_versions_even_if_each_filler_is_killed_before_it_puts_a_time_back(
    site: Site, mechanism: str
) -> None:
    source = source_of(site)
    whole = walk(source)
    at = lose(site)
    site.environment["BCS_CRASH_AT"] = "filled-before-its-time:14"
    told = recover(site, at, "--rate", "4MiB", "--mechanism", mechanism)
    del site.environment["BCS_CRASH_AT"]
    (source / "dir" / "f03").write_bytes(b"a write of its own")
    captured(site, source / "dir" / "f03", b"a write of its own")
    before = logged(site)
    site.wait(lambda: state(site) not in LIVING, 120, "the end of filling")
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "is-whole")["marks"])
    changed = {(name, fact) for name, fact, *_ in differences(whole, walk(source))}
    assert {name for name, fact in changed if fact == "mtime"} <= {b".", b"dir", b"dir/f03"}
    assert logged(site) == before
    assert [len(each) for each in before.values()] == [1] * len(before), told
    site.wait(lambda: (documents.place_of(site.home, told["id"]).path / "captured").exists(), 120, "the take over")
    assert all(mark["done"] for mark in site.json("mark", "demo", "--label", "taken-over")["marks"])
    assert logged(site) == before
