"""`restore --in-place`: what differs comes back where it stood, nothing else is touched, and there is a way back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.embedded import Site
from tests.fidelity.walker import differences, walk

ADDRESS = "demo/localhost/files"
LARGE = 3 << 20


def make_source(source: Path) -> None:
    """A tree with a bit of everything that a restore in place has to do with."""
    (source / "kept").mkdir(parents=True)
    (source / "kept" / "same").write_bytes(b"same")
    (source / "large").write_bytes(os.urandom(LARGE))
    (source / "text").write_text("first\n")
    (source / "gone").write_text("will be deleted\n")
    (source / "dir" / "deep").mkdir(parents=True)
    (source / "dir" / "deep" / "file").write_text("below\n")
    os.link(source / "text", source / "also text")
    (source / "link").symlink_to("text")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    source = tmp_path / "source"
    make_source(source)
    with Site(tmp_path / "home").start() as made:
        made.protect(ADDRESS, source)
        made.wait_protected(ADDRESS)
        yield made


def _source(site: Site) -> Path:
    return site.home.parent / "source"


def _settle(site: Site, path: Path, holds: bytes) -> None:
    """Wait until a new point shows a change, and all that came before it."""
    wanted = f"{ADDRESS}:{path}"
    site.wait(lambda: site.run("cat", wanted, check=False).stdout == holds, 120, f"{path} to be captured")


def _changed(site: Site, change: Callable[[Path], object]) -> str:
    """Make a change, wait until it is captured; the moment before it."""
    source = _source(site)
    site.json("mark", "demo", "--label", "before")
    change(source)
    stamp = str(time.monotonic_ns()).encode()
    (source / "stamp").write_bytes(stamp)
    _settle(site, source / "stamp", stamp)
    return "mark:before"


def _back(site: Site, at: str, *more: str, check: bool = True) -> dict[str, Any]:
    done = site.run("restore", ADDRESS, "--at", at, "--in-place", *more, "--json", check=False)
    told = dict(json.loads(done.stdout))
    assert not check or done.returncode == 0, (told, done.stderr)
    return {**told, "code": done.returncode}


def _write_inside(source: Path) -> None:
    with open(source / "large", "r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"x" * 100)


def _tree(site: Site) -> Any:
    return walk(_source(site))


def _swap(source: Path) -> None:
    shutil.rmtree(source / "dir")
    (source / "dir").write_text("a file now\n")
    (source / "gone").unlink()
    (source / "gone").mkdir()
    (source / "gone" / "inside").write_text("new\n")


def _relink(source: Path) -> None:
    (source / "also text").unlink()
    (source / "also text").write_text("another\n")
    os.link(source / "kept" / "same", source / "a third")


def _attributes(source: Path) -> None:
    os.chmod(source / "text", 0o600)
    os.utime(source / "kept" / "same", ns=(1, 1))
    os.setxattr(source / "dir", "user.note", b"1")
    (source / "link").unlink()
    (source / "link").symlink_to("elsewhere")


CHANGES: list[Callable[[Path], object]] = [
    lambda source: (source / "text").write_text("second\n"),
    lambda source: (source / "gone").unlink(),
    _write_inside,
    _swap,
    _relink,
    _attributes,
    lambda source: shutil.rmtree(source / "dir"),
    lambda source: (source / "dir").rename(source / "moved"),
    lambda source: os.truncate(source / "large", 1000),
    lambda source: os.truncate(source / "large", 2 * LARGE),
    lambda source: os.replace(source / "text", source / "gone"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_exact_restore_is_the_tree_as_it_was_and_its_undo_the_tree_as_it_is(
    site: Site, change: Callable[[Path], object]
) -> None:
    before = _tree(site)
    at = _changed(site, change)
    after = _tree(site)
    told = _back(site, at, "--exact", "--verify")
    assert told["verified"] and not told["failures"]
    assert differences(before, _tree(site)) == []
    back = _back(site, told["undo"], "--exact", "--verify")
    assert back["verified"]
    assert differences(after, _tree(site)) == []


def test_only_what_differs_is_written(site: Site) -> None:
    at = _changed(site, _write_inside)
    large = _source(site) / "large"
    inode = large.stat().st_ino
    told = _back(site, at)
    assert told["bytes"] < 1 << 20
    assert told["plan"] == {**told["plan"], "make": 0, "rewrite": 1, "remove": 0}
    assert large.stat().st_ino == inode


def test_what_did_not_exist_then_stays_unless_told(site: Site) -> None:
    at = _changed(site, lambda source: (source / "newer").write_text("newer\n"))
    _back(site, at)
    assert (_source(site) / "newer").exists()
    _back(site, at, "--exact")
    assert not (_source(site) / "newer").exists()


def test_a_part_of_the_tree_alone(site: Site) -> None:
    def change(source: Path) -> None:
        (source / "text").write_text("second\n")
        (source / "dir" / "deep" / "file").write_text("changed\n")

    at = _changed(site, change)
    site.run("restore", f"{ADDRESS}:{_source(site)}/dir", "--at", at, "--in-place")
    assert (_source(site) / "dir" / "deep" / "file").read_text() == "below\n"
    assert (_source(site) / "text").read_text() == "second\n"


def test_a_dry_run_says_what_and_touches_nothing(site: Site) -> None:
    at = _changed(site, lambda source: (source / "gone").unlink())
    before = _tree(site)
    told = _back(site, at, "--exact", "--dry-run")
    assert told["dry_run"] and told["plan"]["make"] == 1 and told["plan"]["remove"] == 1
    assert differences(before, _tree(site)) == []
    shown = site.run("restore", ADDRESS, "--at", at, "--in-place", "--exact", "--dry-run").stdout.decode()
    assert f"+ {_source(site)}/gone" in shown and f"- {_source(site)}/stamp" in shown


def test_nothing_to_do_is_said(site: Site) -> None:
    told = _back(site, "latest", "--exact")
    assert told["names"] == told["removed"] == 0 and told["verified"]


def test_without_an_agent_there_is_no_way_back_and_so_no_restore(site: Site) -> None:
    at = _changed(site, lambda source: (source / "text").write_text("second\n"))
    site.kill("node")
    told = _back(site, at, check=False)
    assert told["code"] == 1 and "mark" in told["error"]["message"]
    assert (_source(site) / "text").read_text() == "second\n"
    site.start_node()


def test_damage_leaves_the_file_as_it_was(site: Site) -> None:
    at = _changed(site, lambda source: (source / "large").write_bytes(os.urandom(LARGE)))
    now = (_source(site) / "large").read_bytes()
    packs = [path for path in (site.home / "journal" / "packs").rglob("*") if path.is_file()]
    for pack in sorted(packs, key=lambda path: path.stat().st_mtime)[:-1]:
        if pack.stat().st_size > 1 << 20:
            raw = bytearray(pack.read_bytes())
            raw[len(raw) // 2] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(raw)
            break
    told = _back(site, at, check=False)
    assert told["code"] == 6 and told["failures"]
    assert (_source(site) / "large").read_bytes() == now


@pytest.mark.parametrize("more", [["--to", "/tmp/x", "--in-place"], [], ["--to", "/tmp/x", "--exact"]])
def test_one_way_at_a_time(site: Site, more: list[str]) -> None:
    assert site.run("restore", ADDRESS, *more, check=False).returncode == 2


def test_bytes_that_are_back_as_they_were_are_no_difference(site: Site) -> None:
    large = _source(site) / "large"
    (before,) = site.json("mark", "demo", "--label", "whole")["marks"]
    assert before["done"]
    at = _changed(site, lambda source: _dirtied(source / "large"))
    assert _back(site, "mark:whole")["verified"]
    site.json("mark", "demo", "--label", "back")
    taken = site.run("mark", "demo", "--label", "whole", "--json", check=False)
    assert taken.returncode == 4 and json.loads(taken.stdout)["error"]["details"]["set_at"]
    for one, other in (("mark:whole", "mark:back"), (at, "mark:back")):
        told = site.json("diff", f"{ADDRESS}:{large}", "--from", one, "--to", other)
        assert told["entries"] == [], (one, other)


def _dirtied(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1_000_001)
        file.write(b"xyz")


def _acts(site: Site) -> list[tuple[str, dict[str, Any]]]:
    query = "SELECT what, details FROM audit WHERE what IN ('restoring', 'restore') ORDER BY at, what DESC"
    rows = site.json("query", query)["rows"]
    return [(what, json.loads(details) if isinstance(details, str) else details) for what, details in rows]


FAILS = """
import sys
from bcsctl.__main__ import main
from engine.recovery.in_place import carry_out
def fails(*_):
    {how}
carry_out._sync = fails
sys.argv = ["bcsctl", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("killed", [False, True])
def test_one_that_does_not_come_to_its_end_is_recorded(site: Site, killed: bool) -> None:
    """What failed with what was written until then; what was killed at the next command."""
    source = _source(site)
    at = _changed(site, lambda source: (source / "text").write_text("second\n"))
    how = "import os; os.kill(os.getpid(), 9)" if killed else "raise OSError(28, 'full')"
    command = [sys.executable, "-c", FAILS.format(how=how), "restore", ADDRESS, "--at", at, "--in-place"]
    environment = {**site.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=site.home)
    assert done.returncode == (-9 if killed else 1), done.stderr
    assert (source / "text").read_text() == "first\n", "it had written"
    if killed:
        assert [what for what, _ in _acts(site)] == ["restoring"]
        again = site.run("restore", ADDRESS, "--at", at, "--in-place", "--dry-run")
        assert b"was killed" in again.stderr
    (_, begun), (what, end) = _acts(site)
    assert what == "restore" and not end["verified"]
    assert end["undo"] == begun["undo"] and end["undo"].startswith("mark:before-restore-")
    if killed:
        assert end["code"] == "interrupted"
    else:
        assert end["error"] == "No space left on device" and end["names"] >= 1 and end["bytes"] >= 6
        assert end["undo"] in done.stderr, "the way back is said"
    site.run("restore", ADDRESS, "--at", end["undo"], "--in-place", "--exact")
    assert (source / "text").read_text() == "second\n"
    assert len([what for what, _ in _acts(site) if what == "restore"]) == 2
