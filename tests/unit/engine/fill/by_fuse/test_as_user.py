"""Without root: the mount is made by fusermount3, here by a stand-in: the real one is set-user-ID."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import xxhash

import engine

from . import as_user
from .mounted import CAN_MOUNT

pytestmark = pytest.mark.skipif(not CAN_MOUNT, reason="the stand-in needs root and /dev/fuse")
USER = 65534
FUSERMOUNT = """#!{python}
import array, os, socket, sys
with socket.socket(socket.AF_UNIX) as ours:
    ours.connect({path!r})
    ours.sendall("\\0".join(sys.argv[1:]).encode() + b"\\0\\0")
    said, given, _, _ = ours.recvmsg(10, socket.CMSG_SPACE(4))
    if given:
        with socket.socket(fileno=os.dup(int(os.environ["_FUSE_COMMFD"]))) as theirs:
            theirs.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given[0][2]))])
    sys.exit(said != b"done")
"""
_libc = ctypes.CDLL(None, use_errno=True)


def _serve(listening: socket.socket) -> None:
    """What the real fusermount3 does, as root."""
    while True:
        try:
            asked, _ = listening.accept()
        except OSError:
            return
        with asked:
            words = b""
            while not words.endswith(b"\0\0"):
                words += asked.recv(1000)
            arguments = words[:-2].split(b"\0")
            directory = arguments[-1]
            if arguments[0] == b"-u":
                lazily = 2 if b"-z" in arguments else 0
                asked.sendall(b"done" if _libc.umount2(directory, lazily) == 0 else b"failed")
                continue
            fd = os.open("/dev/fuse", os.O_RDWR)
            options = b"fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions" % (fd, USER, USER)
            flags = ctypes.c_ulong(2 | 4)
            if _libc.mount(b"bcs", directory, b"fuse.bcs-r1", flags, options) < 0:
                asked.sendall(b"failed")
            else:
                socket.send_fds(asked, [b"done"], [fd])
            os.close(fd)


def _python() -> tuple[str, dict[str, str]] | None:
    """A Python that this user may run, and what it needs for it."""
    packages = Path(xxhash.__file__).parents[1]
    environment = {"PYTHONPATH": f"{Path(engine.__file__).parents[1]}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        command = [python or "false", "-c", "import xxhash, engine.fill.by_fuse.mechanism"]
        try:
            subprocess.run(command, user=USER, group=USER, env=environment, check=True, capture_output=True, cwd="/")
        except (OSError, subprocess.CalledProcessError):
            continue
        return command[0], environment
    return None


def test_a_user_mounts_and_works() -> None:
    found = _python()
    if found is None:
        pytest.skip("no Python here that another user may run")
    python, environment = found
    base = Path(f"/tmp/bcs-as-user-{os.getpid()}")
    base.mkdir()
    os.chown(base, USER, USER)
    program = base / "fusermount3"
    program.write_text(FUSERMOUNT.format(python=python, path=str(base / "socket")))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind(str(base / "socket"))
            (base / "socket").chmod(0o777)
            listening.listen()
            threading.Thread(target=_serve, args=[listening], daemon=True).start()
            done = subprocess.run(
                [python, as_user.__file__, str(base)],
                env={**environment, "PATH": f"{base}:{os.defpath}"},
                user=USER,
                group=USER,
                extra_groups=[],
                capture_output=True,
                cwd="/",
                timeout=60,
                check=False,
            )
            assert done.stdout == b"all is well\n", done.stderr.decode()[-3000:]
        finally:
            _libc.umount2(os.fsencode(base / "mnt"), 2)
            listening.shutdown(socket.SHUT_RDWR)
            shutil.rmtree(base)
