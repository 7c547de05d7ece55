"""Overflow, mounts, handles without names, the filter on our own process: what single changes don't show."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from engine.agent.watch import fanotify as fan
from engine.agent.watch.base import Watcher, WatchRefused
from engine.agent.watch.choose import open_watcher
from engine.agent.watch.group import DIALECTS
from engine.agent.watch.inotify import InotifyWatcher
from engine.agent.watch.marks import DirectoryWatcher, FilesystemWatcher
from tests.mounts import Volume, volume

Loops = Callable[[str], AbstractContextManager[tuple[Path, Callable[[], None]]]]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BOUNDED: dict[str, Callable[[], Watcher]] = {
    "fanotify": lambda: FilesystemWatcher(bounded=True),
    "fanotify-directories": lambda: DirectoryWatcher(bounded=True),
    "inotify": InotifyWatcher,
}


def in_child(act: Callable[[], None]) -> None:
    """Run `act` in a forked process; its failure fails the test."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@needs_root
@pytest.mark.parametrize("mechanism", BOUNDED)
def test_an_overflow_is_told_and_passes(root: Path, mechanism: str) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    limit = max(limit, int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text()))
    if limit > 100_000:
        pytest.skip("this machine's event queue is too long to fill")
    watcher = BOUNDED[mechanism]()
    try:
        watcher.add_directory(1, os.fsencode(root))
        for number in range(limit + 100):
            os.mknod(root / str(number))
        found = watcher.drain()
        assert found.overflowed
        assert len(found.dirty) > limit // 16  # others fill the queue too: it is the file system's
        os.mknod(root / "later")
        found = watcher.drain()
        assert found.dirty == {(1, b"later")}
        assert not found.overflowed
    finally:
        watcher.close()


@needs_root
def test_an_unlimited_queue_keeps_everything(root: Path) -> None:
    watcher = FilesystemWatcher()
    try:
        watcher.add_directory(1, os.fsencode(root))
        names = {str(number).encode() for number in range(20_000)}
        for name in names:
            os.mknod(os.fsencode(root) + b"/" + name)
        found = watcher.drain()
        assert found.dirty == {(1, name) for name in names}
        assert not found.overflowed
        assert not watcher.drain().dirty
    finally:
        watcher.close()


@needs_root
def test_an_older_kernels_dialect_is_taken_when_the_newer_is_refused(root: Path) -> None:
    unknown = (0x80000000, DIALECTS[0][1])
    watcher = FilesystemWatcher(dialects=[unknown, *DIALECTS[1:]])
    watcher.add_directory(1, os.fsencode(root))
    (root / "f").write_bytes(b"x")
    (root / "f").rename(root / "g")
    assert watcher.drain().dirty == {(1, b"f"), (1, b"g")}
    watcher.close()
    with pytest.raises(WatchRefused):
        FilesystemWatcher(dialects=[unknown])


@needs_root
def test_renames_fill_several_reads(root: Path) -> None:
    """Each RENAME is one event with two names: counting it twice would leave events behind."""
    watcher = FilesystemWatcher()
    try:
        watcher.add_directory(1, os.fsencode(root))
        for number in range(3000):
            os.mknod(root / f"{number:04}")
        watcher.drain()
        for number in range(3000):
            os.rename(
                root / f"{number:04}", root / f"{number:04}-with-a-name-so-long-that-a-read-holds-not-many-of-them"
            )
        assert len(watcher.drain().dirty) == 6000
        assert not watcher.drain().dirty
    finally:
        watcher.close()


@needs_root
def test_a_write_through_a_bind_mount_elsewhere_is_seen(root: Path) -> None:
    (root / "tree").mkdir()
    (root / "bound").mkdir()
    watcher = FilesystemWatcher([os.fsencode(root / "tree")])
    try:
        watcher.add_directory(1, os.fsencode(root / "tree"))
        script = f"mount --bind {root}/tree {root}/bound && echo x > {root}/bound/f"
        if subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=False).returncode:
            pytest.skip("no mount namespaces here")
        found = watcher.drain()
        assert found.dirty == {(1, b"f")}
        assert not found.overflowed, "that mount is in another namespace, and not ours"
    finally:
        watcher.close()


@needs_root
def test_our_own_changes_can_be_ignored(root: Path) -> None:
    watcher = FilesystemWatcher(ignore_pid=os.getpid())
    try:
        watcher.add_directory(1, os.fsencode(root))
        (root / "ours").write_bytes(b"x")
        (root / "ours").rename(root / "ours-too")
        subprocess.run(["touch", root / "theirs"], check=True)
        assert watcher.drain().dirty == {(1, b"theirs")}
    finally:
        watcher.close()


@needs_root
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_file_opened_by_its_handle_is_found_by_inode(loops: Loops, kind: str) -> None:
    """As an NFS server does it: after a remount nobody has looked up the file's name."""
    with loops(kind) as (mount_point, mount_again):
        (mount_point / "sub").mkdir()
        (mount_point / "sub/f").write_bytes(b"x")
        status = os.stat(mount_point / "sub/f")
        fd = os.open(mount_point / "sub/f", os.O_PATH)
        key, _ = fan.object_key(fd)
        os.close(fd)
        mount_again()
        watcher = FilesystemWatcher()
        mount_fd = os.open(mount_point, os.O_RDONLY)
        try:
            watcher.add_directory(1, os.fsencode(mount_point))
            fd = fan.open_by_key(key, mount_fd)
            with open(f"/proc/self/fd/{fd}", "ab") as file:
                file.write(b"through NFS")
            os.close(fd)
            assert status.st_ino in {inode for _, inode in watcher.drain().inodes}
        finally:
            os.close(mount_fd)
            watcher.close()


@needs_root
def test_btrfs_subvolumes(loops: Loops) -> None:
    """Below the top mount a subvolume is seen by the mark on the top, and from a subvolume by one on the top too."""
    if not shutil.which("btrfs"):
        pytest.skip("needs btrfs-progs")
    with loops("btrfs") as (mount_point, _):
        subprocess.run(["btrfs", "subvolume", "create", mount_point / "vol"], check=True, capture_output=True)
        watcher = open_watcher([os.fsencode(mount_point)], environment={})
        try:
            assert watcher.mechanism == "fanotify"
            watcher.add_directory(1, os.fsencode(mount_point))
            watcher.add_directory(2, os.fsencode(mount_point / "vol"))
            (mount_point / "vol/f").write_bytes(b"x")
            assert watcher.drain().dirty == {(2, b"f")}
        finally:
            watcher.close()
        alone = open_watcher([os.fsencode(mount_point / "vol")], environment={})
        try:
            assert alone.mechanism == "fanotify"
            alone.add_directory(2, os.fsencode(mount_point / "vol"))
            (mount_point / "vol/g").write_bytes(b"x")
            assert alone.drain().dirty == {(2, b"g")}
        finally:
            alone.close()


@pytest.fixture
def subvolume() -> Iterator[Volume]:
    """A btrfs, not mounted, with a subvolume `@` that is mounted by distributions as their root."""
    with volume("btrfs") as disk:
        disk.mount()
        if subprocess.run(["btrfs", "subvolume", "create", disk.path / "@"], capture_output=True).returncode:
            pytest.skip("needs btrfs-progs")
        disk.unmount()
        yield disk


@needs_root
@pytest.mark.parametrize("options", ["subvol=@", "ro,subvol=@"])
def test_a_mount_of_a_btrfs_subvolume_alone(subvolume: Volume, options: str) -> None:
    """The mark is on the top, which nobody sees mounted, and which is let go; the file system stays as it was."""
    subvolume.mount(options)
    before = Path("/proc/self/mountinfo").read_bytes()
    watcher = open_watcher([os.fsencode(subvolume.path)], environment={})
    try:
        assert watcher.mechanism == "fanotify"
        assert Path("/proc/self/mountinfo").read_bytes() == before
        watcher.add_directory(1, os.fsencode(subvolume.path))
        if options == "subvol=@":
            (subvolume.path / "file").write_bytes(b"x")
            assert watcher.drain().dirty == {(1, b"file")}
        subvolume.unmount()
        assert watcher.drain().overflowed
        subprocess.run(["btrfs", "check", subvolume.device], check=True, capture_output=True)  # not while it is in use
    finally:
        watcher.close()


@needs_root
def test_a_subvolume_whose_top_can_not_be_had_falls_back(subvolume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(mount: object) -> int:
        raise OSError(errno.ENOSYS, "as before Linux 5.2")

    monkeypatch.setattr("engine.agent.watch.btrfs._mounted", refused)
    subvolume.mount("subvol=@")
    watcher = open_watcher([os.fsencode(subvolume.path)], environment={})
    try:
        assert watcher.mechanism != "fanotify"
        assert f"fanotify: {subvolume.path}: Invalid cross-device link" in watcher.costs
        watcher.add_directory(1, os.fsencode(subvolume.path))
        (subvolume.path / "file").write_bytes(b"x")
        assert watcher.drain().dirty == {(1, b"file")}
    finally:
        watcher.close()


@needs_root
def test_overlayfs_falls_back_and_works(root: Path) -> None:
    """Over tmpfs, since the file system of the tests may itself be an overlay."""
    mounted = []
    try:
        subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True, capture_output=True)
        mounted.append(root)
        for name in ("lower", "upper", "work", "merged"):
            (root / name).mkdir()
        (root / "lower/f").write_bytes(b"x")
        options = f"lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, root / "merged"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no overlayfs here")
        mounted.append(root / "merged")
        merged = os.fsencode(root / "merged")
        with pytest.raises(WatchRefused):
            open_watcher([merged], force="fanotify")
        watcher = open_watcher([merged], environment={})
        try:
            assert watcher.mechanism in ("fanotify-directories", "inotify")
            watcher.add_directory(1, merged)
            (root / "merged/f").write_bytes(b"copied up")
            (root / "merged/n").write_bytes(b"new")
            assert watcher.drain().dirty >= {(1, b"f"), (1, b"n")}
        finally:
            watcher.close()
    finally:
        for place in reversed(mounted):
            subprocess.run(["umount", place], check=True)


@needs_root
def test_inotify_says_which_limit_is_reached(root: Path) -> None:
    def limited() -> None:
        fan_libc = __import__("ctypes").CDLL(None, use_errno=True)
        if fan_libc.unshare(0x10000000) != 0:  # CLONE_NEWUSER: the limits below are then ours alone
            return
        Path("/proc/self/uid_map").write_text("0 0 1")
        Path("/proc/sys/user/max_inotify_watches").write_text("1")
        watcher = InotifyWatcher()
        watcher.add_directory(1, os.fsencode(root))
        (root / "sub").mkdir()
        try:
            watcher.add_directory(2, os.fsencode(root / "sub"))
        except WatchRefused as error:
            assert "max_user_watches" in error.hint, error.hint
            assert error.details["mechanism"] == "inotify"
        else:
            raise AssertionError("a second watch was given")
        watcher.add_directory(1, os.fsencode(root))
        Path("/proc/sys/user/max_inotify_instances").write_text("1")
        try:
            InotifyWatcher()
        except WatchRefused as error:
            assert "max_user_instances" in error.hint, error.hint
        else:
            raise AssertionError("a second instance was given")

    in_child(limited)


@needs_root
def test_without_privilege_inotify_serves(root: Path) -> None:
    (root / "sub").mkdir(mode=0o777)
    (root / "sub").chmod(0o777)

    def unprivileged() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        watcher = open_watcher([os.fsencode(root)], environment={})
        assert watcher.mechanism == "inotify", watcher.mechanism
        assert watcher.costs
        watcher.add_directory(1, os.fsencode(root))
        watcher.add_directory(2, os.fsencode(root / "sub"))
        (root / "f").write_bytes(b"x")
        (root / "f").rename(root / "sub/f")
        assert watcher.wait(5)
        assert watcher.drain().dirty == {(1, b"f"), (2, b"f")}

    in_child(unprivileged)
