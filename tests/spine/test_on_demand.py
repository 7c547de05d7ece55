"""`restore --on-demand` through the command line: a tree that is there at once, used while it fills, whole at last."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.fill.kept import documents
from engine.fill.life.choosing import why_not
from engine.fill.life.starting import FILLER, ROLE, living
from tests import plug
from tests.embedded import Site
from tests.fidelity.walker import differences, walk

ADDRESS = "demo/localhost/files"
LARGE = 12 << 20
MECHANISMS = ["pre-access", "fuse"]


def make_source(source: Path) -> None:
    """Files of all sorts; one large enough to be filled in many steps, one with a hole in it."""
    source.mkdir()
    (source / "large").write_bytes(os.urandom(LARGE))
    for number in range(20):
        (source / "dir" / f"{number}").mkdir(parents=True)
        (source / "dir" / f"{number}" / "file").write_bytes(os.urandom(1000 * number))
    with (source / "sparse").open("wb") as file:
        file.write(b"begin" * 1000)
        file.seek(40 << 20)
        file.write(b"end" * 1000)
        file.truncate(64 << 20)
    (source / "empty").touch()
    (source / "link").symlink_to("large")
    os.link(source / "large", source / "also large")
    (source / "dir" / "3" / "file").chmod(0o4750)
    os.setxattr(source / "sparse", "user.colour", b"blue")
    os.utime(source / "dir", ns=(10**18, 10**18))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("on-demand")
    make_source(base / "source")
    with Site(base / "home").start() as made:
        made.protect(ADDRESS, base / "source")
        made.wait_protected(ADDRESS)
        try:
            yield made
        finally:
            for each in made.json("recover", "list")["recoveries"]:
                made.run("recover", "cancel", each["id"], "--yes", check=False)
            made.kill("agent")
            plug.take_away(made.home)


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    why = why_not(request.param, os.fsencode(tmp_path))
    if why:
        pytest.skip(why)
    return str(request.param)


def source_of(site: Site) -> Path:
    return site.home.parent / "source"


def begin(site: Site, mechanism: str, target: Path, *more: str) -> dict[str, Any]:
    """A tree that is not filled but by who reads it."""
    told: dict[str, Any] = site.json(
        "restore", ADDRESS, "--to", str(target), "--on-demand", "--mechanism", mechanism, *more
    )
    return told


def one(site: Site, id: str) -> dict[str, Any]:
    [found] = [each for each in site.json("recover", "list", "--all")["recoveries"] if each["id"] == id]
    return dict(found)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_tree_is_there_at_once_and_whole_in_the_end(site: Site, mechanism: str, tmp_path: Path) -> None:
    target, source = tmp_path / "back", source_of(site)
    told = begin(site, mechanism, target, "--rate", "1KiB")
    assert told["mechanism"] == mechanism
    assert sorted(each.name for each in target.iterdir()) == sorted(each.name for each in source.iterdir())
    assert (target / "large").stat().st_size == LARGE
    assert (target / "large").stat().st_mtime_ns == (source / "large").stat().st_mtime_ns
    now = one(site, told["id"])
    assert (now["state"], now["dir"]) == ("filling", str(target))
    assert now["bytes_filled"] < now["bytes_total"]
    data = sum(len((source / "dir" / f"{number}" / "file").read_bytes()) for number in range(20)) + LARGE
    assert data <= now["bytes_total"] <= data + (1 << 20)  # the hole of 64 MiB is nothing to wait for
    with (target / "large").open("rb") as file, (source / "large").open("rb") as right:
        file.seek(5 << 20)
        right.seek(5 << 20)
        assert file.read(4096) == right.read(4096)
    assert sha(target / "dir" / "7" / "file") == sha(source / "dir" / "7" / "file")
    refused = site.run("down", check=False)
    assert refused.returncode == 4
    finished = site.json("recover", "finish", told["id"])
    assert (finished["state"], finished["bytes_filled"]) == ("ended", finished["bytes_total"])
    assert differences(walk(source), walk(target)) == []
    assert not plug.processes_of(site.home, told["id"])
    assert acts_of(site, told["id"]) == ["restoring", "recover", "restore"]


def test_what_is_written_while_it_fills_stays(site: Site, mechanism: str, tmp_path: Path) -> None:
    target, source = tmp_path / "back", source_of(site)
    told = begin(site, mechanism, target, "--rate", "1KiB")
    with (target / "large").open("r+b") as file:
        file.seek(3 << 20)
        file.write(b"mine")
    (target / "dir" / "5" / "file").write_bytes(b"new")
    os.rename(target / "dir" / "6" / "file", target / "moved")
    (target / "dir" / "8" / "file").unlink()
    os.truncate(target / "dir" / "9" / "file", 10)
    site.run("recover", "finish", told["id"])
    right = bytearray((source / "large").read_bytes())
    right[3 << 20 : (3 << 20) + 4] = b"mine"
    assert (target / "large").read_bytes() == right
    assert (target / "dir" / "5" / "file").read_bytes() == b"new"
    assert (target / "moved").read_bytes() == (source / "dir" / "6" / "file").read_bytes()
    assert not (target / "dir" / "8" / "file").exists()
    assert (target / "dir" / "9" / "file").read_bytes() == (source / "dir" / "9" / "file").read_bytes()[:10]


def test_copies_of_a_tree_that_fills_are_complete(site: Site, mechanism: str, tmp_path: Path) -> None:
    target, source = tmp_path / "back", source_of(site)
    told = begin(site, mechanism, target, "--rate", "1KiB")
    subprocess.run(["cp", "-a", target, tmp_path / "copied"], check=True)
    found = differences(walk(source), walk(tmp_path / "copied"))
    assert [each for each in found if each[:2] != (b"sparse", "data")] == []  # its holes are no holes yet
    site.run("recover", "cancel", told["id"], "--yes")


def test_pause_and_resume(site: Site, mechanism: str, tmp_path: Path) -> None:
    target = tmp_path / "back"
    told = begin(site, mechanism, target, "--rate", "1KiB")
    assert site.json("recover", "pause", told["id"])["state"] == "paused"
    assert (target / "dir" / "7" / "file").read_bytes()
    assert site.json("recover", "resume", told["id"], "--rate", "unlimited")["state"] == "filling"
    site.wait(lambda: one(site, told["id"])["state"] == "ended", 120, "the tree to be whole")


def test_cancel_leaves_nothing(site: Site, mechanism: str, tmp_path: Path) -> None:
    target = tmp_path / "back"
    told = begin(site, mechanism, target, "--rate", "1KiB")
    (target / "mine").write_text("new")
    assert site.run("recover", "cancel", told["id"], check=False).returncode == 2
    assert site.json("recover", "cancel", told["id"], "--yes")["state"] == "cancelled"
    assert not target.exists()
    assert not plug.processes_of(site.home, told["id"])
    assert acts_of(site, told["id"]) == ["restoring", "recover", "restore"]


def test_a_dead_filler_and_a_dead_supervisor_are_replaced(site: Site, mechanism: str, tmp_path: Path) -> None:
    target, source = tmp_path / "back", source_of(site)
    told = begin(site, mechanism, target, "--rate", "1KiB")
    place = documents.place_of(site.home, told["id"])
    for role, name in ((FILLER, "7"), (ROLE, "11"), (FILLER, "12")):
        before = {each: living(place, each) for each in (FILLER, ROLE)}
        dead = before[role]
        assert dead is not None
        os.kill(dead, signal.SIGKILL)
        assert sha(target / "dir" / name / "file") == sha(source / "dir" / name / "file")
        replaced = [FILLER] if role == FILLER else [FILLER, ROLE]  # another supervisor begins with another filler
        site.wait(lambda: all(living(place, each) not in (None, before[each]) for each in replaced), 120, "others")  # noqa: B023
    site.run("recover", "finish", told["id"])
    assert differences(walk(source), walk(target)) == []


def test_without_guard_it_is_begun_again(site: Site, mechanism: str, tmp_path: Path) -> None:
    target, source = tmp_path / "back", source_of(site)
    told = begin(site, mechanism, target, "--rate", "1KiB")
    assert sha(target / "dir" / "7" / "file") == sha(source / "dir" / "7" / "file")
    site.kill("agent")  # which would begin it by itself
    plug.pull(site.home, told["id"])
    assert one(site, told["id"])["state"] == "unguarded"
    site.start_agent()
    assert site.json("recover", "resume", told["id"])["state"] == "filling"
    site.run("recover", "finish", told["id"])
    assert differences(walk(source), walk(target)) == []


def words(answer: subprocess.CompletedProcess[bytes]) -> str:
    """All that a command said, on one line."""
    return " ".join((answer.stdout + answer.stderr).decode().split())


def test_what_is_written_without_guard_is_said_again_and_again(site: Site, mechanism: str, tmp_path: Path) -> None:
    """It holds zeros round what was written; behind a mount nobody reaches it, so nothing is to be said."""
    target, source = tmp_path / "back", source_of(site)
    name = "dir/7/file"
    told = begin(site, mechanism, target, "--rate", "1KiB")
    site.kill("agent")  # which would begin it by itself
    plug.pull(site.home, told["id"])
    said = words(site.run("recover", "list"))
    assert f"`bcsctl recover resume {told['id']}`" in said and "UNGUARDED" in said
    assert ("reads give zeros" in said) == (mechanism == "pre-access")
    paused = site.run("recover", "pause", told["id"], check=False)
    assert paused.returncode == 4 and "nobody fills" in words(paused)
    if mechanism == "pre-access":
        with (target / name).open("r+b") as file:
            file.seek(5000)
            file.write(b"new")
    site.start_agent()
    site.run("recover", "resume", told["id"])
    finished = site.run("recover", "finish", told["id"], check=False)
    written = [name] if mechanism == "pre-access" else []
    assert finished.returncode == (6 if written else 0)
    assert one(site, told["id"])["written_unguarded"] == written
    query = "SELECT details FROM audit WHERE what = 'restore' AND json_extract_string(details, '$.id') = '{}'"
    [(details,)] = site.json("query", query.format(told["id"]))["rows"]
    end = json.loads(details) if isinstance(details, str) else details
    assert (end["verified"], end["failures"]) == (not written, len(written))
    if written:
        back = f"{ADDRESS}:{source / name}"
        assert f"bcsctl restore {back} --at point:{told_point(site, told['id'])} --to DIR" in words(finished)
        assert (target / name).read_bytes()[5000:5003] == b"new"
        assert [each["id"] for each in site.json("recover", "list")["recoveries"]] == [told["id"]]
        (site.home / "recoveries" / told["id"] / "unguarded").unlink()


def told_point(site: Site, id: str) -> str:
    return str(one(site, id)["point"])


def test_a_maker_that_was_killed_leaves_nothing_in_the_way(site: Site, mechanism: str, tmp_path: Path) -> None:
    """The same command again clears what it left; until then nothing else goes there, and `cancel` takes it away."""
    target = tmp_path / "back"
    first, second = os.urandom(6).hex(), os.urandom(6).hex()
    cut_off(site, mechanism, target, first)
    assert one(site, first)["state"] == "cut off"
    refused = site.run("restore", ADDRESS, "--to", str(target), "--overwrite", check=False)
    assert refused.returncode == 4 and f"recover cancel {first}" in words(refused)
    told = begin(site, mechanism, target, "--rate", "1KiB")
    assert one(site, first)["state"] == "cancelled"
    site.run("recover", "cancel", told["id"], "--yes")
    cut_off(site, mechanism, target, second)
    (target / "mine").write_text("mine")
    assert "stays" in words(site.run("recover", "cancel", second, "--yes"))
    assert [each.name for each in target.iterdir()] == ["mine"]
    assert target.stat().st_mode & 0o777 != 0o700


def cut_off(site: Site, mechanism: str, target: Path, id: str) -> None:
    """As a maker leaves it who is killed before the tree is guarded."""
    example = begin(site, mechanism, target.parent / "example", "--rate", "1KiB")
    recipe = json.loads((site.home / "recoveries" / example["id"] / "recipe.json").read_text())
    site.run("recover", "cancel", example["id"], "--yes")
    place = site.home / "recoveries" / id
    place.mkdir()
    (target / f".bcs-{id}" / "dir").mkdir(parents=True)
    target.chmod(0o700)
    changed = {"id": id, "dir": str(target), "hidden": f"{target}/.bcs-{id}", "made_dir": True}
    (place / "recipe.json").write_text(json.dumps({**recipe, **changed}))


def test_refusals(site: Site, tmp_path: Path) -> None:
    before = site.json("recover", "list")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    common = ["restore", ADDRESS, "--on-demand", "--json", "--to"]
    assert site.run(*common, str(tmp_path / "full"), check=False).returncode == 4
    shutil.rmtree(tmp_path / "full")
    answer = site.run(*common, "/proc/sys/back", check=False)
    assert json.loads(answer.stdout)["error"]["code"] in ("refused", "usage", "failed")
    assert site.json("recover", "list") == before


def acts_of(site: Site, id: str) -> list[str]:
    """What the audit has of a recovery, in order."""
    query = f"SELECT what FROM audit WHERE json_extract_string(details, '$.id') = '{id}' ORDER BY at"
    return [what for (what,) in site.json("query", query)["rows"]]


def test_what_is_damaged_is_named_and_comes_once_it_is_repaired(site: Site, tmp_path: Path) -> None:
    """`recover finish` fills all the rest, names what can't be filled, and may be said again: exit 6, then 0."""
    target, source = tmp_path / "back", source_of(site)
    told = begin(site, "pre-access", target, "--rate", "1KiB")
    packs = [path for path in (site.home / "journal" / "packs").rglob("*") if path.is_file()]
    pack = max(packs, key=lambda path: path.stat().st_size)
    whole = pack.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    mode = pack.stat().st_mode
    pack.chmod(0o600)
    try:
        pack.write_bytes(damaged)
        done = site.run("recover", "finish", told["id"], check=False)
        assert done.returncode == 6, words(done)
        names = one(site, told["id"])["damaged"]
        assert len(names) == 1 and names[0] in words(done)
        assert one(site, told["id"])["state"] == "filling", "its readers are told, not shown zeros"
        with pytest.raises(OSError, match="Input/output"):
            (target / names[0]).read_bytes()
        if names[0] != "dir/3/file":
            assert sha(target / "dir" / "3" / "file") == sha(source / "dir" / "3" / "file")
    finally:
        pack.write_bytes(whole)
        pack.chmod(mode)
    assert sha(target / names[0]) == sha(source / names[0])
    site.wait(lambda: not one(site, told["id"])["damaged"], 120, "the filler to say so")
    site.run("recover", "finish", told["id"])
    assert one(site, told["id"])["state"] == "ended"
    assert differences(walk(source), walk(target)) == []
