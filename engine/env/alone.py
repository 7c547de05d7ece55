"""The program around a drill's command: it can reach no network but its own loopback, and nothing of it stays.

`python -m engine.env.alone` with a JSON object on standard input: {argv, cwd, environment}. It enters
namespaces of its own (network, processes, mounts, IPC; without root also users), says `alone` on the descriptor that
the first argument names, or why it can't, and runs the command. Its exit code is the command's, 128 and the signal's
number if one ended it. Sources: unshare(2), network_namespaces(7), pid_namespaces(7), user_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ALONE = "alone"
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_PDEATHSIG = 1
_MS_REC, _MS_SLAVE, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x4000, 1 << 19, 2, 4, 8
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Enter the namespaces, run the command, end as it does."""
    _ends_with_parent()
    told = int(sys.argv[1])
    os.set_inheritable(told, False)
    task = json.load(sys.stdin)
    try:
        own_processes = enter()
    except OSError as error:
        os.write(told, f"no network namespace can be made here: {error.strerror}".encode())
        sys.exit(1)
    first = os.fork()
    if first == 0:
        os._exit(_first(task["argv"], task["cwd"], task["environment"], told, own_processes))
    os.close(told)
    os._exit(_code(os.waitpid(first, 0)[1]))


def enter() -> bool:
    """Enter new namespaces, and bring up the loopback device; whether processes have one of their own: it begins with
    the next child. OSError when not even a network can be had."""
    users = 0 if os.geteuid() == 0 else _NEWUSER
    ids = os.getuid(), os.getgid()
    wanted = _NEWNET | _NEWPID | _NEWIPC | (_NEWNS if not users else 0)
    own_processes = True
    try:
        _call(_libc.unshare(users | wanted))
    except OSError:
        _call(_libc.unshare(users | _NEWNET))
        own_processes = False
    if users:
        for name, text in (("setgroups", "deny"), ("uid_map", "{0} {0} 1"), ("gid_map", "{1} {1} 1")):
            Path(f"/proc/self/{name}").write_text(text.format(*ids))
    elif own_processes:
        # Nothing mounted here is seen outside; what is unmounted there goes here too, else its device would stay busy.
        _call(_libc.mount(None, b"/", None, _MS_REC | _MS_SLAVE, None))
    _loopback_up()
    return own_processes


def _first(argv: Sequence[str], cwd: str, environment: Mapping[str, str], told: int, own_processes: bool) -> int:
    """The first process of the namespace: whatever else runs in it ends with it."""
    _ends_with_parent()
    if own_processes and os.geteuid() == 0:
        # Where that is not allowed, the processes outside are seen, and can't be signalled.
        _libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, None)
    os.write(told, ALONE.encode())
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            os.chdir(cwd)
            os.execvpe(argv[0], list(argv), dict(environment))
        except OSError as error:
            sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
            sys.stderr.flush()
        os._exit(127)
    while True:
        try:
            ended, status = os.waitpid(-1, 0)
        except InterruptedError:
            continue
        if ended == child:
            with suppress(OSError):
                os.killpg(child, signal.SIGKILL)
            return _code(status)


def _ends_with_parent() -> None:
    _libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        name = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(device, _SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(device, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _call(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
