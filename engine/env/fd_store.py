"""A descriptor that systemd keeps for a service, so that it stays open when every process of that has been killed.

sd_notify(3) FDSTORE, FDSTOREREMOVE and BARRIER, sd_listen_fds(3). Outside such a service nothing is kept.
"""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Sequence
from contextlib import closing

_FIRST = 3  # SD_LISTEN_FDS_START
_BARRIER_MILLISECONDS = 5000


def keep(name: str, fd: int) -> bool:
    """In the place of any that had this name; whether systemd has it now, as far as can be told. It does not look
    whether the descriptor hangs up: that of a socket whose other end is closed is kept, too."""
    forget(name)
    return _tell(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", [fd]) and _barrier()


def forget(name: str) -> None:
    """Systemd closes what it keeps under this name."""
    _tell(f"FDSTOREREMOVE=1\nFDNAME={name}")


def kept(name: str) -> int | None:
    """The descriptor that systemd gave back to this process at its start; None without one."""
    if os.environ.get("LISTEN_PID", "") != str(os.getpid()):
        return None
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")[: int(os.environ.get("LISTEN_FDS", "0") or 0)]
    return _FIRST + names.index(name) if name in names else None


def _barrier() -> bool:
    """Wait until systemd has read what it was told: a message of a process that has ended by then counts nothing."""
    ours, theirs = os.pipe()
    try:
        told = _tell("BARRIER=1", [theirs])
    finally:
        os.close(theirs)
    poll = select.poll()
    poll.register(ours, select.POLLHUP)
    try:
        return told and bool(poll.poll(_BARRIER_MILLISECONDS))
    finally:
        os.close(ours)


def _tell(state: str, descriptors: Sequence[int] = ()) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as sender:
        sender.settimeout(1.0)
        given = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            sender.sendmsg([state.encode()], given, 0, "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return False
    return True
