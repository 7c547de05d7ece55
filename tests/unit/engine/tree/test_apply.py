from __future__ import annotations

import errno
import os
import stat as st
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model import xattrs
from engine.tree import apply
from engine.tree.apply import (
    NO_GROUP_BITS,
    NO_SET_ID,
    CannotMake,
    Shortfall,
    create_file,
    deepest_first,
    finish,
    link,
    make,
    set_size,
    write_extent,
)
from engine.tree.attributes import Attributes, read_attributes
from engine.tree.compare import compare, digest
from engine.tree.sparse import data_ranges
from engine.tree.walk import Entry, walk

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, device nodes, capabilities")
MTIME = 1_600_000_000_123_456_789
FILE = Attributes("f", 0o644, os.getuid(), os.getgid(), 0, MTIME)


def copy_tree(source: bytes, target: bytes, owners: bool = True) -> list[Shortfall]:
    """A copy made with nothing but this package, as a restore would make it."""
    shortfalls: list[Shortfall] = []
    names: dict[tuple[int, int], bytes] = {}
    made: dict[bytes, Attributes] = {}
    for item in walk(source):
        assert isinstance(item, Entry), item
        path = target + item.path[len(source) :]
        if item.inode in names:
            missing = link(names[item.inode], path)
        else:
            made[path] = read_attributes(item.path, item.stat)
            missing = make(path, made[path])
            if item.type != "d":
                names[item.inode] = path
        if missing is not None:
            shortfalls.append(missing)
            made.pop(path, None)
        elif item.type == "f" and path in made:
            copy_content(item.path, path, item.stat.st_size)
    for path in deepest_first(made):
        shortfalls += finish(path, made[path], owners)
    return shortfalls


def copy_content(source: bytes, target: bytes, size: int) -> None:
    reading, writing = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY)
    for offset, length in data_ranges(reading, size):
        write_extent(writing, offset, os.pread(reading, length, offset))
    set_size(writing, size)
    os.close(reading)
    os.close(writing)


def path_in(directory: Path, name: str = "x") -> bytes:
    return os.fsencode(directory / name)


def test_a_tree_of_everything_comes_back_equal(sample: Path, tmp_path: Path) -> None:
    copy = os.fsencode(tmp_path) + b"/copy \xff"
    assert copy_tree(os.fsencode(sample), copy) == []
    assert compare(os.fsencode(sample), copy, holes=True) == []
    assert digest(os.fsencode(sample)) == digest(copy)


@pytest.mark.parametrize(
    "kind", ["f", "d", "p", "s", pytest.param("c", marks=needs_root), pytest.param("b", marks=needs_root)]
)
def test_what_is_made_is_closed_to_others_until_finished(tmp_path: Path, kind: str) -> None:
    wanted = replace(FILE, type=kind, mode=0o666, rdev=os.makedev(1, 3) if kind in "cb" else 0)
    old = os.umask(0)
    try:
        assert make(path_in(tmp_path), wanted) is None
    finally:
        os.umask(old)
    found = os.lstat(path_in(tmp_path))
    assert st.S_IMODE(found.st_mode) == (0o700 if kind == "d" else 0o600)
    assert finish(path_in(tmp_path), wanted) == []
    assert read_attributes(path_in(tmp_path)) == wanted


@pytest.mark.parametrize("kind", ["f", "d", "l", "p", "s"])
def test_nothing_is_ever_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x").write_bytes(b"precious")
    with pytest.raises(CannotMake, match="File exists") as caught:
        make(path_in(tmp_path), replace(FILE, type=kind, target=b"t"))
    assert caught.value.errno == errno.EEXIST and (tmp_path / "x").read_bytes() == b"precious"


def test_a_dangling_symlink_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotMake):
        create_file(path_in(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


@needs_root
def test_set_id_bits_and_capabilities_survive_the_change_of_owner(sample: Path, tmp_path: Path) -> None:
    wanted = read_attributes(path_in(sample, "tool"))
    assert wanted.mode == 0o6755 and b"security.capability" in xattrs.decode(wanted.xattrs) and wanted.uid == 4321
    make(path_in(tmp_path), wanted)
    assert finish(path_in(tmp_path), replace(wanted, size=0)) == []
    assert read_attributes(path_in(tmp_path)) == replace(wanted, size=0)


@needs_root
def test_finishing_again_changes_what_differs_and_nothing_else(tmp_path: Path) -> None:
    make(path_in(tmp_path), FILE)
    os.setxattr(path_in(tmp_path), b"user.old", b"1")
    wanted = replace(FILE, uid=4321, mode=0o4711, xattrs=xattrs.encode({b"user.new": b"2"}))
    assert finish(path_in(tmp_path), wanted) == finish(path_in(tmp_path), wanted) == []
    assert read_attributes(path_in(tmp_path)) == wanted


def test_an_acl_inherited_from_the_parent_is_taken_away_again(sample: Path) -> None:
    path = path_in(sample / "dir" / "deeper")
    for kind in ("f", "d"):
        make(path + kind.encode(), replace(FILE, type=kind))
        assert os.listxattr(path + kind.encode()) != []
        assert finish(path + kind.encode(), replace(FILE, type=kind)) == []
        assert read_attributes(path + kind.encode()) == replace(FILE, type=kind)


def test_an_acl_and_its_mask_agree_with_the_mode(sample: Path, tmp_path: Path) -> None:
    wanted = replace(read_attributes(path_in(sample, "sparse")), size=0)
    assert st.S_IMODE(wanted.mode) == 0o640
    make(path_in(tmp_path), wanted)
    assert finish(path_in(tmp_path), wanted) == []
    assert read_attributes(path_in(tmp_path)) == wanted


def test_without_its_acl_a_file_is_not_open_to_more_people(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(sample / "sparse", 0o660)  # sets the mask; the group's own entry stays at r--
    wanted = replace(read_attributes(path_in(sample, "sparse")), size=0)
    assert wanted.mode == 0o660

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOTSUP, "no")

    make(path_in(tmp_path), wanted)
    monkeypatch.setattr(os, "setxattr", refuse)
    missing = finish(path_in(tmp_path), wanted)
    assert [(s.what, s.errno) for s in missing] == [
        ("xattr system.posix_acl_access", errno.ENOTSUP),
        ("mode", NO_GROUP_BITS),
    ]
    assert st.S_IMODE(os.lstat(tmp_path / "x").st_mode) == 0o640


def test_an_open_file_can_be_finished_through_its_descriptor(tmp_path: Path) -> None:
    fd = create_file(path_in(tmp_path))
    write_extent(fd, 3, memoryview(b"data"))
    wanted = replace(FILE, mode=0o444, size=7, xattrs=xattrs.encode({b"user.a": b"b"}))
    assert finish(path_in(tmp_path), wanted, fd=fd) == []
    os.close(fd)
    assert read_attributes(path_in(tmp_path)) == wanted
    assert (tmp_path / "x").read_bytes() == b"\0\0\0data"


def test_a_symlink_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bystander").touch(mode=0o600)
    before = read_attributes(path_in(tmp_path, "bystander"))
    (tmp_path / "x").symlink_to("bystander")
    for kind in ("f", "p"):
        missing = finish(path_in(tmp_path), replace(FILE, type=kind, mode=0o666))
        assert "mode" in {shortfall.what for shortfall in missing}
    assert read_attributes(path_in(tmp_path, "bystander")) == before


def test_a_time_that_the_file_system_cannot_hold_is_a_shortfall(tmp_path: Path) -> None:
    make(path_in(tmp_path), FILE)
    beyond = replace(FILE, mtime_ns=(1 << 40) * 1_000_000_000)  # the year 36812
    missing = finish(path_in(tmp_path), beyond)
    kept = os.lstat(path_in(tmp_path)).st_mtime_ns
    assert kept == beyond.mtime_ns or missing == [Shortfall(path_in(tmp_path), "times", 0)]
    assert "times" in str(Shortfall(b"a\nb", "times", 0)) and "\n" not in str(Shortfall(b"a\nb", "times", 0))


def test_an_xattr_that_is_refused_is_a_shortfall_with_its_name(tmp_path: Path) -> None:
    make(path_in(tmp_path), FILE)
    wanted = replace(FILE, xattrs=xattrs.encode({b"nonsense.name": b"", b"user.good": b"1"}))
    assert finish(path_in(tmp_path), wanted) == [Shortfall(path_in(tmp_path), "xattr nonsense.name", errno.ENOTSUP)]
    assert os.getxattr(path_in(tmp_path), b"user.good") == b"1"


def test_links_share_an_inode_even_of_symlinks(tmp_path: Path) -> None:
    make(path_in(tmp_path), replace(FILE, type="l", target=b"nowhere"))
    assert link(path_in(tmp_path), path_in(tmp_path, "y")) is None
    assert os.lstat(tmp_path / "x").st_ino == os.lstat(tmp_path / "y").st_ino
    with pytest.raises(CannotMake):
        link(path_in(tmp_path, "no"), path_in(tmp_path, "z"))


def test_a_link_that_the_file_system_refuses_is_a_shortfall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EMLINK, "no")

    monkeypatch.setattr(os, "link", refuse)
    assert link(b"/a", b"/b") == Shortfall(b"/b", "link", errno.EMLINK)


def test_short_writes_go_on_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(apply.os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    fd = create_file(path_in(tmp_path))
    write_extent(fd, 5, b"0123456789")
    os.close(fd)
    assert (tmp_path / "x").read_bytes() == bytes(5) + b"0123456789"


def test_children_come_before_parents() -> None:
    assert deepest_first([b"/a", b"/a/b", b"/a.b", b"/a/b/c"]) == [b"/a/b/c", b"/a/b", b"/a.b", b"/a"]


@needs_root
def test_owners_may_be_left_alone(tmp_path: Path) -> None:
    wanted = replace(FILE, uid=4321, gid=1234)
    make(path_in(tmp_path), wanted)
    assert finish(path_in(tmp_path), wanted, owners=False) == []
    assert os.lstat(tmp_path / "x").st_uid == os.getuid()


@needs_root
def test_a_set_id_bit_is_withheld_when_the_owner_is_another_one(tmp_path: Path) -> None:
    wanted = replace(FILE, uid=4321, mode=0o4755)
    make(path_in(tmp_path), wanted)
    assert finish(path_in(tmp_path), wanted, owners=False) == [Shortfall(path_in(tmp_path), "mode", NO_SET_ID)]
    assert st.S_IMODE(os.lstat(tmp_path / "x").st_mode) == 0o755


def test_without_privilege_every_shortfall_is_named(
    open_dir: Path, unprivileged: Callable[[Callable[[], str]], str]
) -> None:
    capability = {b"security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}

    def attempt() -> str:
        said = []
        wanted = replace(FILE, uid=0, gid=0, mode=0o6755, xattrs=xattrs.encode({**capability, b"user.a": b"b"}))
        make(path_in(open_dir, "tool"), wanted)
        said += finish(path_in(open_dir, "tool"), wanted)
        said.append(make(path_in(open_dir, "null"), replace(FILE, type="c", rdev=os.makedev(1, 3))))
        own = replace(FILE, uid=os.getuid(), gid=os.getgid(), mode=0o000)
        make(path_in(open_dir, "own"), own)
        said += finish(path_in(open_dir, "own"), own) + finish(path_in(open_dir, "own"), own)
        assert st.S_IMODE(os.lstat(open_dir / "tool").st_mode) == 0o755
        assert os.getxattr(open_dir / "tool", b"user.a") == b"b"
        return " ".join(f"{os.path.basename(s.path).decode()}:{s.what}:{s.errno}" for s in said if s)

    assert unprivileged(attempt).split(" tool:") == [
        "tool:owner:1",
        "group:1",
        "xattr security.capability:1",
        "mode:-1 null:node:1",
    ]


def test_without_privilege_an_own_tree_comes_back_equal(
    open_dir: Path, unprivileged: Callable[[Callable[[], str]], str]
) -> None:
    source, copy = open_dir / "source", open_dir / "copy"
    (source / "directory").mkdir(parents=True)
    (source / "plain").write_bytes(b"seen by all")

    def attempt() -> str:
        missing = copy_tree(os.fsencode(source), os.fsencode(copy), owners=False)
        return f"{missing} {compare(os.fsencode(source), os.fsencode(copy), owners=False)}"

    assert unprivileged(attempt) == "[] []"
