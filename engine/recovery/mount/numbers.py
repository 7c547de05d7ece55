"""Which number is which node of a mount.

A node of a tree is the view's number and the inode's file_id in one, so nothing need be remembered of it and it means
the same for as long as the mount lasts. View 0 are the directories above: sites' groups, hosts, sources, their times.
"""

from __future__ import annotations

import errno
import os

FILE_ID_BITS = 44
_FILE_ID_MAX = (1 << FILE_ID_BITS) - 1
VIEWS_MAX = 1 << (63 - FILE_ID_BITS)


def node_of(view: int, file_id: int) -> int:
    """The node of an inode in a view. OSError EOVERFLOW beyond 17 trillion events of one stream."""
    if file_id > _FILE_ID_MAX:
        raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
    return view << FILE_ID_BITS | file_id


def parts_of(node: int) -> tuple[int, int]:
    """(view, file_id) of a node; in view 0 the second is a number of its own."""
    return node >> FILE_ID_BITS, node & _FILE_ID_MAX
