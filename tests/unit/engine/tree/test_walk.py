from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.tree import walk as walk_module
from engine.tree.walk import Entry, Unreadable, walk


def paths(root: Path, exclude: Callable[[bytes, bool], bool] | None = None) -> list[bytes]:
    return [os.path.relpath(item.path, os.fsencode(root)) for item in walk(os.fsencode(root), exclude)]


def oracle(root: Path) -> set[bytes]:
    top = os.fsencode(root)
    return {b"."} | {
        os.path.relpath(os.path.join(at, name), top) for at, *kinds in os.walk(top) for names in kinds for name in names
    }


def test_every_name_comes_once_after_its_parent_and_always_in_the_same_order(sample: Path) -> None:
    found = paths(sample)
    assert set(found) == oracle(sample) and len(found) == len(set(found))
    assert found[0] == b"."
    assert all(os.path.dirname(path) in [b"", *found[:at]] for at, path in enumerate(found))
    assert paths(sample) == found


def test_names_of_a_directory_come_in_byte_order(tmp_path: Path) -> None:
    for name in (b"b", b"a", b"\xff", b"\xc3\xa9", b"A", b"a.b"):
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    assert paths(tmp_path)[1:] == [b"A", b"a", b"a.b", b"b", b"\xc3\xa9", b"\xff"]


def test_entries_carry_lstat_and_hard_links_show(sample: Path) -> None:
    entries = {os.path.basename(item.path): item for item in walk(os.fsencode(sample)) if isinstance(item, Entry)}
    assert entries[b"plain"].inode == entries[b"hard link"].inode and entries[b"plain"].stat.st_nlink == 2
    assert entries[b"plain"].inode != entries[b"soft"].inode
    assert {entries[name].type for name in (b"soft", b"dangling")} == {"l"}
    assert entries[b"sparse"].stat.st_size == 3 << 20


def test_symlinks_to_directories_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "way").symlink_to("real")
    assert paths(tmp_path) == [b".", b"real", b"way", b"real/file"]
    assert [item.path for item in walk(os.fsencode(tmp_path / "way"))] == [os.fsencode(tmp_path / "way")]


def test_excluded_names_and_all_below_them_are_left_out_and_never_looked_into(sample: Path) -> None:
    asked: list[tuple[bytes, bool]] = []

    def exclude(path: bytes, is_directory: bool) -> bool:
        asked.append((os.path.relpath(path, os.fsencode(sample)), is_directory))
        return os.path.basename(path) in (b"dir", b"plain")

    found = paths(sample, exclude)
    assert b"dir" not in found and b"plain" not in found and b"soft" in found
    assert not any(path.startswith(b"dir/") for path, _ in asked)
    assert (b"dir", True) in asked and (b"plain", False) in asked and (b".", True) not in asked


def test_a_single_file_is_a_tree_of_one(sample: Path) -> None:
    assert [(item.path, item.type) for item in walk(os.fsencode(sample / "plain"))] == [  # type: ignore[union-attr]
        (os.fsencode(sample / "plain"), "f")
    ]


def test_a_root_that_is_not_there_is_an_item(tmp_path: Path) -> None:
    (item,) = walk(os.fsencode(tmp_path / "no"))
    assert item == Unreadable(os.fsencode(tmp_path / "no"), errno.ENOENT) and item.vanished


def test_the_root_directory_has_paths_without_double_slashes() -> None:
    found = walk(b"/", lambda path, is_directory: is_directory)
    assert all(not item.path.startswith(b"//") for item in found)


def test_a_directory_that_may_not_be_read_is_reported_and_the_walk_goes_on(
    open_dir: Path, unprivileged: Callable[[Callable[[], str]], str]
) -> None:
    for name in ("a", "closed", "z"):
        (open_dir / name).mkdir()
        (open_dir / name / "file").touch()
    (open_dir / "closed").chmod(0o700)

    def attempt() -> str:
        items = list(walk(os.fsencode(open_dir)))
        bad = [(os.path.basename(item.path), item.errno) for item in items if isinstance(item, Unreadable)]
        return f"{len(items)} {bad}"

    assert unprivileged(attempt) == f"7 {[(b'closed', errno.EACCES)]}"


def test_what_vanishes_during_the_walk_is_an_item(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    items = []
    for item in walk(os.fsencode(tmp_path)):
        items.append(item)
        if item.path.endswith(b"/a") and isinstance(item, Entry):
            # b is listed but not yet looked at; a has been looked at but is not yet opened
            (tmp_path / "b").rmdir()
            (tmp_path / "a").rmdir()
    bad = {os.path.basename(item.path): item.errno for item in items if isinstance(item, Unreadable)}
    assert bad == {b"a": errno.ENOENT, b"b": errno.ENOENT}


@pytest.mark.parametrize("swap", ["symlink", "directory"])
def test_a_directory_exchanged_while_walking_is_not_entered(tmp_path: Path, swap: str) -> None:
    (tmp_path / "root" / "victim").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").touch()
    items = []
    for item in walk(os.fsencode(tmp_path / "root")):
        items.append(item)
        if item.path.endswith(b"victim") and isinstance(item, Entry):
            (tmp_path / "root" / "victim").rename(tmp_path / "was")
            if swap == "symlink":
                (tmp_path / "root" / "victim").symlink_to("../secret")
            else:
                (tmp_path / "secret").rename(tmp_path / "root" / "victim")
    assert not any(item.path.endswith(b"key") for item in items)
    assert isinstance(items[-1], Unreadable)
    assert items[-1].errno in ((errno.ELOOP, errno.ENOTDIR) if swap == "symlink" else (errno.ESTALE,))


def test_a_tree_deeper_than_the_longest_path_ends_in_a_report(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(b"d" * 255, dir_fd=fd)
        below = os.open(b"d" * 255, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    items = list(walk(os.fsencode(tmp_path)))
    assert items[-1] == Unreadable(items[-1].path, errno.ENAMETOOLONG)
    assert len(items) > 10


def test_mount_points_are_entered_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Looks below / with everything but /proc left out: it is a mount on every Linux machine."""

    def exclude(path: bytes, is_directory: bool) -> bool:
        return not path.startswith(b"/proc") or path.count(b"/") > 2

    inside = [item.path for item in walk(b"/", exclude) if item.path.startswith(b"/proc/")]
    outside = [item.path for item in walk(b"/", exclude, cross_mounts=False) if item.path.startswith(b"/proc")]
    assert b"/proc/version" in inside and outside == [b"/proc"]


def test_an_abandoned_walk_leaves_no_descriptor_open(sample: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    items = walk(os.fsencode(sample))
    for _ in range(5):
        next(items)
    items.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before
    assert walk_module._OPEN_DIRECTORY & os.O_CLOEXEC
