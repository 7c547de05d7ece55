from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.model import xattrs
from engine.model.events import Inode
from engine.tree.attributes import Attributes, CannotRead, from_inode, read_attributes, read_open

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, device nodes, capabilities")


def read(path: Path) -> Attributes:
    return read_attributes(os.fsencode(path))


def test_a_plain_file_is_read_as_lstat_and_the_xattrs_say(sample: Path) -> None:
    os.chmod(sample / "plain", 0o4640)
    found, status = read(sample / "plain"), os.lstat(sample / "plain")
    encoded = xattrs.encode({b"user.note": b"\0binary\xff"})
    expected = Attributes("f", 0o4640, os.getuid(), os.getgid(), 6, status.st_mtime_ns, 0, b"", encoded)
    assert found == expected


@pytest.mark.parametrize(
    ("name", "kind"), [("plain", "f"), ("dir", "d"), ("soft", "l"), ("dangling", "l"), ("fifo", "p"), ("socket", "s")]
)
def test_every_type_has_its_letter(sample: Path, name: str, kind: str) -> None:
    assert read(sample / name).type == kind


def test_symlinks_are_not_followed_and_keep_the_bytes_of_their_target(sample: Path) -> None:
    found = read(sample / "dangling")
    assert (found.target, found.size) == (b"no\xffwhere", 8)


def test_a_directory_has_no_size_of_its_own(sample: Path) -> None:
    assert read(sample / "dir").size == 0
    assert xattrs.decode(read(sample / "dir").xattrs) == {b"user.empty": b""}


def test_acls_are_among_the_xattrs(sample: Path) -> None:
    access = xattrs.decode(read(sample / "sparse").xattrs)[b"system.posix_acl_access"]
    assert struct.pack("<HHI", 2, 4, 1234) in access
    assert b"system.posix_acl_default" in xattrs.decode(read(sample / "dir" / "deeper").xattrs)


@needs_root
def test_device_numbers_capabilities_and_xattrs_of_symlinks(sample: Path) -> None:
    assert (read(sample / "null").type, read(sample / "null").rdev) == ("c", os.makedev(1, 3))
    assert (read(sample / "block").type, read(sample / "block").rdev) == ("b", os.makedev(7, 200))
    assert b"security.capability" in xattrs.decode(read(sample / "tool").xattrs)
    link = read(sample / "soft")
    assert (link.uid, link.gid, xattrs.decode(link.xattrs)) == (4321, 1234, {b"trusted.on-a-symlink": b"yes"})


@needs_root
def test_overlay_notes_about_other_inodes_are_not_kept_but_what_a_layer_means_is(tmp_path: Path) -> None:
    os.setxattr(tmp_path, b"trusted.overlay.origin", b"\0\xfb")
    os.setxattr(tmp_path, b"trusted.overlay.opaque", b"y")
    assert xattrs.decode(read(tmp_path).xattrs) == {b"trusted.overlay.opaque": b"y"}


def test_relative_to_a_directory_an_open_file_and_a_known_stat_all_say_the_same(sample: Path) -> None:
    directory = os.open(sample, os.O_RDONLY | os.O_DIRECTORY)
    file = os.open(sample / "plain", os.O_RDONLY)
    try:
        expected = read(sample / "plain")
        assert read_attributes(b"plain", dir_fd=directory) == expected
        assert read_open(file, b"plain") == expected
        assert read_attributes(os.fsencode(sample / "plain"), os.lstat(sample / "plain")) == expected
        assert read_attributes(b"dangling", dir_fd=directory) == read(sample / "dangling")
    finally:
        os.close(directory)
        os.close(file)


def test_names_that_are_no_text_work(sample: Path) -> None:
    directory = os.fsencode(sample / "dir")
    for name in os.listdir(directory):
        if name not in (b"deeper", b"hard link"):
            assert read_attributes(directory + b"/" + name).size == len(name)


def test_a_vanished_path_is_a_condition_that_names_it_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotRead, match=r"gone\\nfor good\\xff") as caught:
        read_attributes(os.fsencode(tmp_path) + b"/gone\nfor good\xff")
    assert caught.value.vanished and caught.value.errno == errno.ENOENT
    assert "\n" not in caught.value.message


def test_an_xattr_that_may_not_be_read_is_a_condition_too(
    open_dir: Path, unprivileged: Callable[[Callable[[], str]], str]
) -> None:
    (open_dir / "secret").touch()
    os.setxattr(open_dir / "secret", b"user.note", b"x")
    (open_dir / "secret").chmod(0o600)

    def attempt() -> str:
        try:
            read(open_dir / "secret")
        except CannotRead as condition:
            return f"{condition.errno} {condition.vanished}"
        return "read"

    assert unprivileged(attempt) == f"{errno.EACCES} False"


def test_file_systems_without_xattrs_have_none() -> None:
    assert read_attributes(b"/proc/self/status").xattrs == b""


def test_an_inode_event_gives_its_attributes() -> None:
    inode = Inode(7, 8, 9, "c", 0o666, 1, 2, 3, 4, 5, b"t", b"")
    assert from_inode(inode) == Attributes("c", 0o666, 1, 2, 3, 4, 5, b"t", b"")
