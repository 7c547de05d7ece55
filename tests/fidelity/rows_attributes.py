"""Rows: attributes, special files, subvolumes."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.fidelity import calls
from tests.fidelity.rows import Place, row
from tests.sample_tree import CAPABILITY

NO_FLAGS = {"flags": "flags of chattr(1) are not kept"}
ONLY_BTRFS = {each: f"{each} has no subvolumes" for each in ("ext4", "xfs", "tmpfs", "overlayfs")}


def _utime(path: Path, seconds: int, nanoseconds: int, *, follow: bool = True) -> None:
    at = seconds * 1_000_000_000 + nanoseconds
    os.utime(path, ns=(at, at), follow_symlinks=follow)


@row("Attributes", "chmod of files and directories")
def chmod(at: Place) -> Iterator[None]:
    file, directory = at.file("file"), at.directory("directory", "inside")
    yield
    file.chmod(0o000)
    directory.chmod(0o511)


@row("Attributes", "set-uid, set-gid, sticky")
def set_ids(at: Place) -> Iterator[None]:
    files = [at.file(name) for name in ("suid", "sgid", "both")]
    directory = at.directory("directory")
    yield
    for file, mode in zip(files, (0o4755, 0o2755, 0o6711), strict=True):
        file.chmod(mode)
    directory.chmod(0o3777)
    at.directory("directory/inherits")


@row("Attributes", "set-uid lost by a write")
def set_id_lost(at: Place) -> Iterator[None]:
    file = at.file("file")
    os.chown(file, 1234, 1234)
    file.chmod(0o6777)
    yield
    with file.open("ab", 0) as opened:  # what the kernel takes away is judged by who writes, not by who opened
        os.seteuid(1234)
        try:
            opened.write(b"changed")
        finally:
            os.seteuid(0)


@row("Attributes", "chown, lchown")
def chown(at: Place) -> Iterator[None]:
    file, directory = at.file("file"), at.directory("directory")
    (at.here / "symlink").symlink_to("file")
    yield
    os.chown(file, 1234, 4321)
    os.chown(directory, 4_000_000_000, 4_000_000_001)
    os.lchown(at.here / "symlink", 77, 78)


@row("Attributes", "times to the nanosecond")
def times(at: Place) -> Iterator[None]:
    file, directory = at.file("file"), at.directory("directory")
    (at.here / "symlink").symlink_to("file")
    yield
    _utime(file, 1_600_000_000, 123_456_789)
    _utime(directory, 1_600_000_001, 999_999_999)
    _utime(at.here / "symlink", 1_600_000_002, 1, follow=False)


@row("Attributes", "times before 1970 and after 2038")
def far_times(at: Place) -> Iterator[None]:
    early, late = at.file("early"), at.file("late")
    yield
    _utime(early, -1_000_000_000, 123_456_789)
    _utime(late, 6_000_000_000, 987_654_321)


@row("Attributes", "extended attributes: user, trusted, security")
def xattrs(at: Place) -> Iterator[None]:
    file, directory = at.file("file"), at.directory("directory")
    os.setxattr(file, "user.changed", b"before")
    os.setxattr(file, "user.removed", b"before")
    yield
    os.setxattr(file, "user.changed", b"\0after\xff")
    os.removexattr(file, "user.removed")
    for name in ("user.empty", "trusted.mine", "security.other"):
        os.setxattr(file, name, b"")
        os.setxattr(directory, name, b"value")


@row("Attributes", "extended attributes of symbolic links and fifos")
def xattrs_elsewhere(at: Place) -> Iterator[None]:
    (at.here / "symlink").symlink_to("nowhere")
    os.mkfifo(at.here / "fifo")
    yield
    for name in ("symlink", "fifo"):
        os.setxattr(at.here / name, "trusted.mine", b"value", follow_symlinks=False)


@row("Attributes", "extended attributes near the limit")
def xattrs_large(at: Place) -> Iterator[None]:
    one, many = at.file("one"), at.file("many")
    yield
    largest = {"ext4": 3600, "overlayfs": 3600, "btrfs": 16_000}.get(at.column.split()[0], 65_000)
    os.setxattr(one, "user.large", b"v" * largest)
    for number in range(40):
        os.setxattr(many, f"user.{number}." + "n" * 40, b"%d" % number)
    os.setxattr(one, "user." + "n" * 250, b"a long name")


@row("Attributes", "POSIX ACLs: given, changed, removed")
def acls(at: Place) -> Iterator[None]:
    files = [at.file(name) for name in ("given", "changed", "removed")]
    for file in files[1:]:
        _setfacl("u:1234:rw,g:77:r", file)
    yield
    _setfacl("u:1234:r,g:77:rw,o::-", files[0])
    _setfacl("u:1234:rwx,m::r", files[1])
    subprocess.run(["setfacl", "-b", files[2]], check=True)


@row("Attributes", "default ACLs and what inherits them")
def default_acls(at: Place) -> Iterator[None]:
    directory = at.directory("directory")
    removed = at.directory("removed")
    _setfacl("d:u:5:rwx", removed)
    yield
    _setfacl("d:u:1234:rwx,d:g:77:r", directory)
    (directory / "file").write_bytes(b"inherits")
    (directory / "below").mkdir()
    subprocess.run(["setfacl", "-k", removed], check=True)


@row("Attributes", "capabilities")
def capabilities(at: Place) -> Iterator[None]:
    file, lost = at.file("file"), at.file("lost by a write")
    os.setxattr(lost, "security.capability", CAPABILITY)
    yield
    os.setxattr(file, "security.capability", CAPABILITY)
    lost.write_bytes(b"after")


def _setfacl(entries: str, path: Path) -> None:
    subprocess.run(["setfacl", "-m", entries, path], check=True)


@row("Attributes", "immutable and append-only (chattr)", loses=NO_FLAGS)
def flags(at: Place) -> Iterator[None]:
    fixed, log = at.file("fixed"), at.file("log")
    yield
    fixed.write_bytes(b"the last")
    calls.chattr(fixed, calls.FS_IMMUTABLE_FL)
    calls.chattr(log, calls.FS_APPEND_FL)
    with log.open("ab") as opened:
        opened.write(b"more")
    yield
    calls.chattr(fixed, 0)
    calls.chattr(log, 0)


@row("Special files", "fifos and sockets")
def fifos(at: Place) -> Iterator[None]:
    os.mkfifo(at.here / "old", 0o600)
    yield
    (at.here / "old").chmod(0o640)
    os.mkfifo(at.here / "fifo", 0o622)
    with socket.socket(socket.AF_UNIX) as unix:
        directory = os.open(at.here, os.O_PATH)
        unix.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)


@row("Special files", "device nodes")
def devices(at: Place) -> Iterator[None]:
    os.mknod(at.here / "changed", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    yield
    (at.here / "changed").unlink()
    os.mknod(at.here / "changed", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(at.here / "block", 0o640 | stat.S_IFBLK, os.makedev(7, 200))
    os.mknod(at.here / "large numbers", 0o666 | stat.S_IFCHR, os.makedev(300, 70_000))


@row("Special files", "a regular file made with mknod")
def mknod_file(at: Place) -> Iterator[None]:
    at.file("file")
    yield
    os.mknod(at.here / "new", 0o640 | stat.S_IFREG)


@row("Subvolumes", "changes in a nested subvolume", impossible=ONLY_BTRFS)
def nested(at: Place) -> Iterator[None]:
    _btrfs(at, "create", at.here / "nested")
    (at.here / "nested" / "file").write_bytes(b"before")
    (at.here / "nested" / "below").mkdir()
    yield
    (at.here / "nested" / "file").write_bytes(b"after")
    (at.here / "nested" / "below" / "new").write_bytes(b"new")
    (at.here / "nested" / "below").rename(at.here / "nested" / "renamed")


@row("Subvolumes", "a subvolume made while running", impossible=ONLY_BTRFS)
def made(at: Place) -> Iterator[None]:
    at.file("file")
    yield
    _btrfs(at, "create", at.here / "new")
    (at.here / "new" / "file").write_bytes(b"inside")
    (at.here / "new" / "below").mkdir()
    (at.here / "new" / "below" / "file").write_bytes(b"inside")


@row("Subvolumes", "a snapshot made inside the source, and changed", impossible=ONLY_BTRFS)
def snapshot(at: Place) -> Iterator[None]:
    _btrfs(at, "create", at.here / "nested")
    (at.here / "nested" / "below").mkdir()
    for number in range(20):
        (at.here / "nested" / "below" / str(number)).write_bytes(b"before")
    yield
    _btrfs(at, "snapshot", at.here / "nested", at.here / "snapshot")
    (at.here / "snapshot" / "below" / "3").write_bytes(b"changed in the snapshot")
    (at.here / "nested" / "below" / "4").write_bytes(b"changed in the origin")


@row("Subvolumes", "a read-only snapshot", impossible=ONLY_BTRFS)
def read_only_snapshot(at: Place) -> Iterator[None]:
    _btrfs(at, "create", at.here / "nested")
    (at.here / "nested" / "file").write_bytes(b"before")
    yield
    _btrfs(at, "snapshot", "-r", at.here / "nested", at.here / "snapshot")
    yield
    subprocess.run(["btrfs", "property", "set", at.here / "snapshot", "ro", "false"], check=True)


@row("Subvolumes", "a subvolume deleted, and one renamed", impossible=ONLY_BTRFS)
def deleted(at: Place) -> Iterator[None]:
    for name in ("deleted", "renamed"):
        _btrfs(at, "create", at.here / name)
        (at.here / name / "file").write_bytes(b"before")
    yield
    _btrfs(at, "delete", at.here / "deleted")
    (at.here / "renamed").rename(at.here / "new name")
    (at.here / "new name" / "file").write_bytes(b"after")


@row("Subvolumes", "a file renamed from one subvolume to another", impossible=ONLY_BTRFS)
def across(at: Place) -> Iterator[None]:
    for name in ("one", "two"):
        _btrfs(at, "create", at.here / name)
    (at.here / "one" / "file").write_bytes(b"before")
    (at.here / "one" / "again").write_bytes(b"before")
    yield
    try:
        (at.here / "one" / "file").rename(at.here / "two" / "file")
    except OSError:  # EXDEV: mv(1) makes a reflink copy then
        calls.ficlone(at.here / "one" / "file", at.here / "two" / "file")
        (at.here / "one" / "file").unlink()
    shutil.move(at.here / "one" / "again", at.here / "two" / "again")


def _btrfs(at: Place, action: str, *arguments: Path | str) -> None:
    done = subprocess.run(["btrfs", "subvolume", action, *arguments], capture_output=True)
    if done.returncode:
        raise OSError(done.stderr.decode().strip())
