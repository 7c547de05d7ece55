"""A mount handed on to others: by Samba, by what an NFS server asks for, by shells and copying programs."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import ADDRESS, History, await_it

SAMBA = all(shutil.which(name) for name in ("smbd", "smbclient")) and os.geteuid() == 0
needs_samba = pytest.mark.skipif(not SAMBA, reason="needs root, smbd and smbclient (Debian: samba, smbclient)")
needs_rsync = pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")

_CONFIGURATION = """\
[global]
    server role = standalone server
    map to guest = bad user
    guest account = {user}
    interfaces = lo
    bind interfaces only = yes
    disable netbios = yes
    smb ports = {port}
    load printers = no
    printcap name = /dev/null
    disable spoolss = yes
    log file = {place}/log
    private dir = {place}
    lock directory = {place}
    state directory = {place}
    cache directory = {place}
    pid directory = {place}
    ncalrpc dir = {place}/ncalrpc
[history]
    path = {shared}
    read only = yes
    guest ok = yes
    map archive = no
"""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of a mount, and how smbclient asks it."""

    configuration: Path
    port: int

    def ask(self, command: str, *, check: bool = True) -> str:
        """What smbclient says to a command."""
        argv = ["smbclient", "//127.0.0.1/history", "-N", "-p", str(self.port), "-s", str(self.configuration)]
        done = subprocess.run([*argv, "-c", command], capture_output=True, timeout=300)
        told = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
        assert not check or done.returncode == 0, told
        return told

    def tar(self, directory: str, archive: Path) -> None:
        """A directory of the share as a tar archive."""
        argv = ["smbclient", "//127.0.0.1/history", "-N", "-p", str(self.port), "-s", str(self.configuration)]
        argv += ["-D", directory, "-Tc", str(archive)]
        done = subprocess.run(argv, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def _shared(directory: Path, place: Path) -> Iterator[Share]:
    """smbd serving a directory on the loopback device."""
    place.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = pwd.getpwuid(os.getuid()).pw_name
    configuration = place / "smb.conf"
    configuration.write_text(_CONFIGURATION.format(user=user, port=port, place=place, shared=directory))
    share = Share(configuration, port)
    command = ["smbd", "--foreground", "--no-process-group", "-s", str(configuration)]
    with (
        (place / "said").open("wb") as said,
        # smbd ends its whole process group when it ends: it gets one of its own.
        subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True) as server,
    ):
        try:
            await_it(lambda: "blocks" in share.ask("ls", check=False) or server.poll() is not None)
            assert server.poll() is None, (place / "said").read_text()
            yield share
        finally:
            server.terminate()
            server.wait(120)


@pytest.fixture
def share(mounted: Path, tmp_path: Path) -> Iterator[Share]:
    if not SAMBA:
        pytest.skip("needs root, smbd and smbclient (Debian: samba, smbclient)")
    with _shared(mounted, tmp_path / "samba") as found:
        yield found


def _smb(text: str) -> str:
    return text.replace("/", "\\")


@needs_samba
def test_samba_lists_and_reads_any_moment(share: Share, history: History, tmp_path: Path) -> None:
    source = _smb(ADDRESS)
    listed = share.ask(f'ls "{source}\\*"')
    assert "latest" in listed
    # A Windows name has no colon: the same time with hyphens may be typed.
    then = history.at.replace(":", "-")
    assert "changing" in share.ask(f'ls "{source}\\{then}\\*"')
    for moment, content in ((then, "first\n"), ("latest", "second\n")):
        share.ask(f'get "{source}\\{moment}\\changing" "{tmp_path}/{moment}"')
        assert (tmp_path / moment).read_text() == content
    share.ask(f'get "{source}\\latest\\new\\file" "{tmp_path}/file"')
    assert (tmp_path / "file").read_bytes() == (history.source / "new" / "file").read_bytes()
    refused = share.ask(f'put "{tmp_path}/file" "{source}\\{then}\\added"', check=False)
    assert "NT_STATUS_ACCESS_DENIED" in refused or "NT_STATUS_MEDIA_WRITE_PROTECTED" in refused, refused


@needs_samba
def test_a_tree_through_samba_is_what_it_was(share: Share, history: History, tmp_path: Path) -> None:
    share.tar(_smb(f"{ADDRESS}/{history.at.replace(':', '-')}"), tmp_path / "all.tar")
    with tarfile.open(tmp_path / "all.tar") as archive:
        found = {member.name.rpartition("Z/")[2].removeprefix("./"): member for member in archive if member.isfile()}
        for name in ("plain", "changing", "sparse", "dir/hard link", "read-only/inside"):
            content = archive.extractfile(found[name])
            assert content is not None and content.read() == (history.before / name).read_bytes(), name


@needs_samba
def test_a_share_outlives_the_node_and_gives_the_mount_back(history: History, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    command = [sys.executable, "-m", "bcsctl", "mount", str(place), ADDRESS]
    with subprocess.Popen(command, env=history.site.environment, stderr=subprocess.DEVNULL) as program:
        await_it(lambda: os.path.ismount(place))
        with _shared(place, tmp_path / "samba") as share:
            then = history.at.replace(":", "-")
            assert "changing" in share.ask(f'ls "{then}\\*"')
            history.site.kill("node")
            try:
                share.ask(f'get "{then}\\changing" "{tmp_path}/while"')
            finally:
                history.site.start_node()
            share.ask(f'get "{then}\\changing" "{tmp_path}/after"')
            assert (tmp_path / "while").read_text() == (tmp_path / "after").read_text() == "first\n"
        program.terminate()
        assert program.wait(120) == 0
    assert not os.path.ismount(place)


class _Handle(ctypes.Structure):
    _fields_ = (("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128))


_libc = ctypes.CDLL(None, use_errno=True)


def _handle(path: Path) -> _Handle:
    handle, mount = _Handle(bytes=128), ctypes.c_int()
    done = _libc.name_to_handle_at(-100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0)
    assert done == 0, os.strerror(ctypes.get_errno())
    return handle


def test_file_handles_as_an_nfs_server_keeps_them_mean_the_same_later(mounted: Path, history: History) -> None:
    """nfsd(7) knows files by name_to_handle_at(2), forgets them, and asks again by open_by_handle_at(2)."""
    then = mounted / ADDRESS / history.at
    handles = {name: _handle(then / name) for name in ("changing", "dir/deeper", "sparse")}
    for point in history.site.json("points", ADDRESS)["points"]:  # other trees take the first one's place in memory
        os.stat(mounted / ADDRESS / f"point:{point['point']}" / "plain")
    root = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name, handle in handles.items():
            fd = _libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
            assert fd >= 0, (name, os.strerror(ctypes.get_errno()))
            found, wanted = os.fstat(fd), os.stat(then / name)
            os.close(fd)
            assert (found.st_ino, found.st_size, found.st_mtime_ns) == (
                *(wanted.st_ino, wanted.st_size),
                wanted.st_mtime_ns,
            )
    finally:
        os.close(root)


@needs_rsync
def test_rsync_takes_a_tree_whole_and_finds_nothing_to_do_again(
    mounted: Path, history: History, tmp_path: Path
) -> None:
    then = mounted / ADDRESS / history.at
    command = ["rsync", "-aHAX", f"{then}/", str(tmp_path / "copy")]
    subprocess.run(command, check=True, capture_output=True)
    again = subprocess.run([*command, "--itemize-changes", "--checksum"], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert (tmp_path / "copy" / "sparse").read_bytes() == (history.before / "sparse").read_bytes()


def test_find_grep_and_diff_see_what_was_there(mounted: Path, history: History) -> None:
    then = mounted / ADDRESS / history.at
    for flags in (
        ["-type", "f"],
        ["-type", "f", "-size", "+2k"],
        ["-newermt", "2000-01-01"],
        ["-links", "+1", "-type", "f"],
    ):
        one, other = (
            subprocess.run(["find", ".", *flags], cwd=place, capture_output=True, check=True).stdout
            for place in (then, history.before)
        )
        assert sorted(one.splitlines()) == sorted(other.splitlines()) != [], flags
    only = ["--exclude=fifo", "--exclude=socket", "--exclude=null", "--exclude=block", "--no-dereference"]
    same = subprocess.run(["diff", "-r", *only, then, history.before], capture_output=True, text=True)
    assert same.stdout == "" and same.returncode == 0, same.stdout + same.stderr
    changed = subprocess.run(["diff", "-rq", *only, then, history.source], capture_output=True, text=True)
    assert changed.returncode == 1 and "changing differ" in changed.stdout and ": new" in changed.stdout
    found = subprocess.run(["grep", "-rl", "--devices=skip", "hello", "."], cwd=then, capture_output=True, text=True)
    assert {"./plain", "./dir/hard link"} <= set(found.stdout.splitlines())


def test_a_shell_completes_groups_hosts_sources_times_and_names(mounted: Path) -> None:
    def completed(start: str) -> set[str]:
        script = 'compgen -f -- "$1"'
        done = subprocess.run(["bash", "-c", script, "bash", start], capture_output=True, text=True, cwd=mounted)
        return set(done.stdout.splitlines())

    assert completed("de") == {"demo"}
    assert completed("demo/localhost/f") == {"demo/localhost/files"}
    assert f"{ADDRESS}/latest" in completed(f"{ADDRESS}/l")
    assert f"{ADDRESS}/mark:before-upgrade" in completed(f"{ADDRESS}/mark")
    assert completed(f"{ADDRESS}/latest/chan") == {f"{ADDRESS}/latest/changing"}
