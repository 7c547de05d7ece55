"""Rows: where a change comes from: other mounts, other namespaces, handles, other processes."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator

from tests.fidelity.rows import Place, pwrite, row
from tests.fidelity.rows_content import some


@row("Where it is written from", "through a bind mount")
def bind(at: Place) -> Iterator[None]:
    at.file("file", some(50_000))
    yield
    pwrite(at.bound / "file", b"changed", 100)
    (at.bound / "new").write_bytes(b"made through the bind mount")
    (at.bound / "file").rename(at.bound / "renamed")


@row("Where it is written from", "in another mount namespace")
def namespace(at: Place) -> Iterator[None]:
    at.file("file", some(50_000))
    at.file("gone")
    yield
    script = 'mount --bind "$1" /mnt && cd /mnt && printf changed 1<>file && echo new >new && rm gone && mkdir dir'
    subprocess.run(["unshare", "--mount", "sh", "-ec", script, "sh", at.here], check=True)


@row(
    "Where it is written from",
    "through another mount of the device, in another namespace",
    impossible=dict.fromkeys(("tmpfs", "overlayfs"), "it has no device"),
)
def second_mount(at: Place) -> Iterator[None]:
    at.file("file", some(50_000))
    yield
    top = subprocess.run(["findmnt", "-nfo", "TARGET", "-T", at.here], check=True, capture_output=True, text=True)
    below = at.here.relative_to(top.stdout.strip())
    if at.column == "btrfs subvolumes":
        below = "@" / below
    script = 'mount -o "$3" "$1" /mnt && cd "/mnt/$2" && printf changed 1<>file && echo new >new'
    options = "subvolid=5" if at.column.startswith("btrfs") else "defaults"
    command = ["unshare", "--mount", "sh", "-ec", script, "sh", at.device or "/dev/null", str(below), options]
    if subprocess.run(command, capture_output=True).returncode:
        raise OSError("the device can't be mounted")


@row(
    "Where it is written from",
    "opened by its handle, as an NFS server does",
    impossible={"overlayfs": "it has no handles as it is usually mounted"},
)
def by_handle(at: Place) -> Iterator[None]:
    file = at.file("file", some(50_000))
    yield
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer((128).to_bytes(4, "little"), 8 + 128)
    mount_id = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(file), handle, ctypes.byref(mount_id), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    mount_fd = os.open(at.here, os.O_RDONLY)
    fd = libc.open_by_handle_at(mount_fd, handle, os.O_WRONLY)
    os.close(mount_fd)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    os.pwrite(fd, b"changed", 100)
    os.close(fd)


@row("Where it is written from", "by several processes at once")
def several(at: Place) -> Iterator[None]:
    at.file("log", b"")
    yield
    script = 'for n in 1 2 3 4 5 6 7 8; do echo "$1 $n" >>"$2"; done'
    writers = [subprocess.Popen(["sh", "-c", script, "sh", str(each), at.here / "log"]) for each in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4


@row("Where it is written from", "under an open descriptor of /proc")
def proc_fd(at: Place) -> Iterator[None]:
    with at.file("file", some(50_000)).open("rb") as opened:
        yield
        fd = os.open(f"/proc/self/fd/{opened.fileno()}", os.O_WRONLY)
        os.pwrite(fd, b"changed", 10)
        os.close(fd)
        yield
