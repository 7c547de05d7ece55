"""Several descriptors carried as one: the mount's device, its memory, the directories below it.

The supervisor holds one descriptor and hands it on. It is a socket's end in which the others lie as a message
(unix(7), SCM_RIGHTS) that everybody looks at (MSG_PEEK) and nobody takes; they are closed with its last holder.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence

_COUNT_MAX = 16


def pack(descriptors: Sequence[int]) -> int:
    """A descriptor that carries these; the caller closes his own. They are closed when it is closed everywhere."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with there:
        there.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])
    return here.detach()


def unpack(descriptor: int) -> list[int]:
    """New descriptors of what is carried, in the order in which it was packed; not inherited."""
    with socket.socket(fileno=os.dup(descriptor)) as carrier:
        _, given, _, _ = carrier.recvmsg(
            1, socket.CMSG_SPACE(4 * _COUNT_MAX), socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
        )
    found = array.array("i")
    for _, _, data in given:
        found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)
