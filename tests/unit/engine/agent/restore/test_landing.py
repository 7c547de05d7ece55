"""The directory that a restore lands in: where it may be, and that nobody else gets in meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engine.agent.restore import landing
from engine.agent.restore.landing import check, give_back, take
from engine.agent.restore.process import code
from engine.model.errors import BcsError, Refused, UsageError

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def raw(path: Path) -> bytes:
    return os.fsencode(path)


@pytest.mark.parametrize("path", [b"relative", b"", b"/a/../b", b"/a/./b", b"/a\0b"])
def test_a_path_that_makes_no_sense_is_refused(path: bytes) -> None:
    with pytest.raises(UsageError):
        check(path, (), ())


SYSTEMS = [b"/", b"/etc/x", b"/usr/local/x", b"/proc/1", b"/root/.ssh", b"/srv/.x/y", b"/dev/shm/x", b"/lib/x",
           b"/root/x", b"/var/spool/cron/crontabs", b"/var/lib/cloud/scripts/per-boot"]  # fmt: skip


@pytest.mark.parametrize("path", SYSTEMS)
def test_the_systems_own_places_are_refused_from_afar(path: bytes) -> None:
    with pytest.raises(Refused):
        check(path, (), ())


def test_own_and_protected_places_are_refused_whatever_leads_there(tmp_path: Path) -> None:
    own, protected, link = tmp_path / "own", tmp_path / "data" / "protected", tmp_path / "link"
    protected.mkdir(parents=True)
    own.mkdir()
    link.symlink_to(protected)
    for target in (own, own / "x", protected, protected / "x" / "y", tmp_path / "data", link / "x", tmp_path):
        with pytest.raises(Refused):
            check(raw(target), [raw(own)], [raw(protected)], guarded=False)
    check(raw(tmp_path / "data" / "beside"), [raw(own)], [raw(protected)], guarded=False)
    check(raw(tmp_path / "new" / "and" / "deep"), [raw(own)], [raw(protected)], guarded=False)


def test_what_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    for target in ("full", "full/x"):
        with pytest.raises(Refused):
            check(raw(tmp_path / target), (), (), guarded=False)


def test_a_new_directory_is_shut_until_it_is_given_back(tmp_path: Path) -> None:
    held = take(raw(tmp_path / "a" / "b"), None)
    assert held.before.made and stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert held.named(held.held + b"/x") == raw(tmp_path / "a" / "b" / "x")
    give_back(held, attributes_set=False)
    usual = (tmp_path / "a").stat()
    assert (tmp_path / "a" / "b").stat().st_mode == usual.st_mode


@root_only
def test_a_directory_of_somebody_else_is_ours_meanwhile_and_his_again(tmp_path: Path) -> None:
    target = tmp_path / "his"
    target.mkdir()
    os.chown(target, 4321, 1234)
    target.chmod(0o2775)
    held = take(raw(target), None)
    now = target.stat()
    assert (now.st_uid, stat.S_IMODE(now.st_mode)) == (0, 0o700) and not held.before.made
    again = take(raw(target), held.before)  # by a second run, after the first was killed
    give_back(again, attributes_set=True)
    now = target.stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (4321, 1234, 0o2775)


def test_a_directory_that_was_filled_or_exchanged_meanwhile_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    check(raw(target), (), (), guarded=False)
    (target / "x").write_bytes(b"")
    with pytest.raises(Refused):
        take(raw(target), None)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((OSError, BcsError)):
        take(raw(tmp_path / "file"), None)


def test_whoever_renames_what_lies_above_leads_nobody_elsewhere(tmp_path: Path) -> None:
    held = take(raw(tmp_path / "way" / "target"), None)
    (tmp_path / "way").rename(tmp_path / "moved")
    (tmp_path / "trap" / "target").mkdir(parents=True)
    (tmp_path / "way").symlink_to(tmp_path / "trap")
    Path(os.fsdecode(held.held), "file").write_bytes(b"secret")
    give_back(held, attributes_set=False)
    assert (tmp_path / "moved" / "target" / "file").exists()
    assert list((tmp_path / "trap" / "target").iterdir()) == []


def test_a_link_that_leads_elsewhere_after_the_look_is_not_followed(tmp_path: Path) -> None:
    his, system = tmp_path / "his", tmp_path / "system"
    (his / "target").mkdir(parents=True)
    system.mkdir()
    looked = check(raw(his / "target"), (), (), guarded=False)
    (his / "target").rmdir()
    (his / "target").symlink_to(system)
    with pytest.raises(Refused, match="exchanged"):
        take(raw(his / "target"), None, looked)
    his.rename(tmp_path / "moved")
    his.symlink_to(system)
    with pytest.raises(Refused, match="exchanged"):
        take(raw(his / "target"), None, looked)
    assert list(system.iterdir()) == []


def test_a_later_run_takes_no_directory_but_the_one_that_was_taken(tmp_path: Path) -> None:
    target, system = tmp_path / "target", tmp_path / "system"
    system.mkdir(mode=0o755)
    (system / "passwd").write_bytes(b"root")
    held = take(raw(target), None, check(raw(target), (), (), guarded=False))
    os.close(held.fd)  # killed
    target.rename(tmp_path / "aside")
    target.symlink_to(system)
    with pytest.raises(Refused, match="exchanged"):
        take(raw(target), held.before)
    target.unlink()
    target.mkdir()
    with pytest.raises(Refused, match="exchanged"):
        take(raw(target), held.before)
    assert stat.S_IMODE(system.stat().st_mode) == 0o755
    target.rmdir()
    (tmp_path / "aside").rename(target)
    give_back(take(raw(target), held.before), attributes_set=False)


def test_nothing_is_restored_to_where_programs_are_read_from(tmp_path: Path) -> None:
    for place in code():
        with pytest.raises(Refused, match="its own files"):
            check(place + b"/sitecustomize", code(), (), guarded=False)
    assert raw(Path(landing.__file__).resolve().parents[3]) in code()
    check(raw(tmp_path / "beside"), code(), (), guarded=False)
