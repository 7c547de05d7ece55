"""What is particular to the local store: files, modes, descriptors, foreign names."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from engine.env import durable
from engine.store import local
from engine.store.base import AlreadyThere, Missing
from engine.store.local import LocalStore


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_object_is_a_file_for_its_owner_only(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "new" / "root")
    store.put("a/b/c", b"abc")
    path = store.local_path("a/b/c")
    assert path == tmp_path / "new" / "root" / "a" / "b" / "c"
    assert path.read_bytes() == b"abc"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(each.stat().st_mode) for each in list(path.parents)[:4]] == [0o700] * 4


def test_another_store_on_the_same_root_sees_it(tmp_path: Path) -> None:
    LocalStore(tmp_path).put("a/1", b"1")
    assert LocalStore(tmp_path).get("a/1") == b"1"
    with pytest.raises(AlreadyThere):
        LocalStore(tmp_path).put("a/1", b"1")


def test_names_that_are_no_keys_are_not_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/1", b"1")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "x").write_bytes(b"")
    (tmp_path / "a" / ".0123456789abcdef").write_bytes(b"half")
    (tmp_path / "a" / "empty").mkdir()
    assert [item.key for item in store.list("")] == ["a/1"]


def test_directories_are_not_objects(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    (tmp_path / "d").mkdir()
    for look in (store.get, store.size, store.local_path):
        with pytest.raises(Missing):
            look("d")
    store.delete("d")
    assert (tmp_path / "d").is_dir()


def test_descriptors_are_bounded_and_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "OPEN_DIRECTORIES_MAX", 3)
    before = descriptors()
    store = LocalStore(tmp_path)
    for number in range(20):
        store.put(f"{number}/x", b"x")
        store.get(f"{number}/x")
        with pytest.raises(AlreadyThere):
            store.put(f"{number}/x", b"x")
        store.open_put(f"{number}/y").abort()
    assert descriptors() <= before + 3
    del store
    assert descriptors() == before


def test_a_directory_may_leave_the_cache_under_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "OPEN_DIRECTORIES_MAX", 1)
    store = LocalStore(tmp_path)
    with store.open_put("a/x") as upload:
        upload.write(b"1")
        for number in range(5):
            store.put(f"{number}/x", b"x")
        upload.write(b"2")
        upload.commit()
    assert store.get("a/x") == b"12"


def test_threads_with_a_small_cache_meet_the_right_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "OPEN_DIRECTORIES_MAX", 1)
    store = LocalStore(tmp_path)

    def fill(who: int) -> None:
        for number in range(40):
            store.put(f"{who}/{number % 5}/{number}", b"%d-%d" % (who, number))

    threads = [threading.Thread(target=fill, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    found = {item.key: store.get(item.key) for item in store.list("")}
    assert found == {f"{who}/{n % 5}/{n}": b"%d-%d" % (who, n) for who in range(4) for n in range(40)}


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b/1", b"1")
    shutil.rmtree(tmp_path / "a")
    store.put("a/b/2", b"2")
    assert [item.key for item in store.list("")] == ["a/b/2"]


@pytest.mark.parametrize("call", ["fdatasync", "link", "writev"])
def test_a_full_disk_leaves_nothing_and_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store = LocalStore(tmp_path)
    store.put("a/0", b"x")
    before = descriptors()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, call, full)
        with pytest.raises(OSError, match="No space"):
            store.put("a/1", b"x")
    assert descriptors() == before
    assert [item.key for item in store.list("")] == ["a/0"]
    store.put("a/1", b"x")
    assert store.get("a/1") == b"x"
