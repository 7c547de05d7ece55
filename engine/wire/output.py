"""The output of a command that runs elsewhere, as it travels: frames of a kind, a length and that many bytes.

OUT and ERR carry what was written, ALIVE nothing, so that a silent command is known to run; one END with the exit
code, or one FAILED with an error as JSON, is the last.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

OUT, ERR, ALIVE, END, FAILED = b"o", b"e", b"k", b"x", b"f"
KINDS = frozenset({OUT, ERR, ALIVE, END, FAILED})
MEDIA_TYPE = "application/vnd.bcs.output"
FRAME_BYTES_MAX = 1 << 20
_HEAD = struct.Struct(">cI")


class BrokenOff(ValueError):
    """The frames ended before the last one, or are none."""


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """One frame; `content` has at most FRAME_BYTES_MAX bytes."""
    return _HEAD.pack(kind, len(content)) + content


def frames(read: Callable[[int], bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) up to and including the last frame. `read` gives exactly so many bytes, fewer at the end only.

    Raises BrokenOff.
    """
    while True:
        kind, length = _HEAD.unpack(_exactly(read, _HEAD.size))
        if kind not in KINDS or length > FRAME_BYTES_MAX:
            raise BrokenOff(f"a frame of kind {kind!r} with {length} bytes")
        yield kind, _exactly(read, length)
        if kind in (END, FAILED):
            return


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    content = read(count)
    if len(content) != count:
        raise BrokenOff("the output ended in the middle")
    return content
