"""Pages of the kernel's trace ring buffer, as trace_pipe_raw gives them, taken apart.

A page is a header (a timestamp, how many bytes follow, whether records were lost before) and records that each begin
with 32 bits: five of type or length, 27 of time since the record before. Sources: Documentation/trace/
ring-buffer-map.rst, include/linux/ring_buffer.h, tools/lib/traceevent/kbuffer-parse.c. It reads no file.
"""

from __future__ import annotations

import re
import struct
import sys
from dataclasses import dataclass

from engine.model.errors import Failed

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
_MISSED = 1 << 31
_LENGTH = (1 << 27) - 1
_LITTLE = sys.byteorder == "little"
_WORD = struct.Struct("=I")
_WORDS = struct.Struct("=II")
_FIELD = re.compile(r"field:[^;]*?(\w+)(?:\[\d+\])?;\s*offset:(\d+);\s*size:(\d+);")


class PageDamaged(Failed):
    """A page that can't be taken apart: nothing in it, or since, can be relied on."""

    code = "trace-page-damaged"


@dataclass(frozen=True, slots=True)
class PageShape:
    """Where things are in a page, from `header_page`."""

    commit_at: int
    commit_bytes: int
    data_at: int
    page_bytes: int

    @classmethod
    def parse(cls, header_page: str) -> PageShape:
        """From the text of tracefs' events/header_page. ValueError when it isn't one."""
        fields = {name: (int(at), int(size)) for name, at, size in _FIELD.findall(header_page)}
        try:
            (commit_at, commit_bytes), (data_at, data_bytes) = fields["commit"], fields["data"]
        except KeyError as error:
            raise ValueError(f"not a header of pages: no field {error}") from None
        return cls(commit_at, commit_bytes, data_at, data_at + data_bytes)


def records(page: bytes, shape: PageShape) -> tuple[list[tuple[int, int]], bool]:
    """([(timestamp, offset of the record's data), ...] in order, whether records were lost before this page).

    Timestamps are nanoseconds of the buffer's clock. PageDamaged when lengths lead out of the page.
    """
    at = shape.data_at
    if len(page) < at:
        raise PageDamaged(f"a page of {len(page)} bytes")
    commit = int.from_bytes(page[shape.commit_at : shape.commit_at + shape.commit_bytes], sys.byteorder)
    end = at + (commit & _LENGTH)
    if end > len(page):
        raise PageDamaged(f"a page of {len(page)} bytes says that it holds {end}")
    time = int.from_bytes(page[:8], sys.byteorder)
    found: list[tuple[int, int]] = []
    word, words = _WORD.unpack_from, _WORDS.unpack_from
    while at + 4 <= end:
        head = word(page, at)[0]
        kind, delta = (head & 31, head >> 5) if _LITTLE else (head >> 27, head & 0x7FFFFFF)
        if 0 < kind < PADDING:
            time += delta
            found.append((time, at + 4))
            at += 4 + 4 * kind
            continue
        if kind == PADDING and delta == 0:
            break  # nothing more on this page
        if at + 8 > end:
            raise PageDamaged("a record leads out of its page")
        more = words(page, at)[1]
        if kind == TIME_EXTEND:
            time += (more << 27) + delta
            at += 8
        elif kind == TIME_STAMP:
            time = (more << 27) + delta | time >> 59 << 59  # 59 bits of it: the rest is the page's
            at += 8
        else:  # a record too long for its five bits, or one that was thrown away
            time += delta
            if kind == 0:
                found.append((time, at + 8))
            at += 4 + (more + 3 & ~3)
            if more < 4 and kind == 0:
                raise PageDamaged(f"a record of {more} bytes")
    if at > end:
        raise PageDamaged("a record leads out of its page")
    return found, bool(commit & _MISSED)
