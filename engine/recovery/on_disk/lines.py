"""Two texts as a unified diff. Pure. What is the same at both ends is taken off first, so large files are soon done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

CONTEXT_LINES = 3
BYTES_MAX = 32 << 20
"""Of each side: beyond that nobody reads a difference."""

Block = tuple[str, int, int, int, int]
"""As difflib's opcodes: what, [first, end) of the old lines, [first, end) of the new."""


def is_text(data: bytes) -> bool:
    """As diff(1) judges: without a zero byte."""
    return b"\0" not in data


def unified(old: bytes, new: bytes, old_label: str, new_label: str) -> Iterator[bytes]:
    """The lines of the diff, each with its end; none when both are the same."""
    left, right = _lines(old), _lines(new)
    blocks = _blocks(left, right)
    if all(what == "equal" for what, *_ in blocks):
        return
    yield b"--- " + old_label.encode("utf-8", "surrogateescape") + b"\n"
    yield b"+++ " + new_label.encode("utf-8", "surrogateescape") + b"\n"
    for hunk in _hunks(blocks):
        first, last = hunk[0], hunk[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@\n".encode()
        for what, i, j, k, m in hunk:
            if what == "equal":
                yield from _signed(b" ", left[i:j])
            else:
                yield from _signed(b"-", left[i:j])
                yield from _signed(b"+", right[k:m])


def _lines(data: bytes) -> list[bytes]:
    """Lines with their ends; a carriage return is a letter like others."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _signed(sign: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield sign + line if line.endswith(b"\n") else sign + line + b"\n\\ No newline at end of file\n"


def _blocks(left: Sequence[bytes], right: Sequence[bytes]) -> list[Block]:
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    middle = SequenceMatcher(None, left[start : len(left) - end], right[start : len(right) - end]).get_opcodes()
    found: list[Block] = [("equal", 0, start, 0, start)] if start else []
    found += [(what, i + start, j + start, k + start, m + start) for what, i, j, k, m in middle]
    if end:
        found.append(("equal", len(left) - end, len(left), len(right) - end, len(right)))
    return found


def _hunks(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Runs of changes that stand close to one another, with a few of the lines around them."""
    hunk: list[Block] = []
    for number, (what, i, j, k, m) in enumerate(blocks):
        if what != "equal":
            hunk.append((what, i, j, k, m))
            continue
        last = number == len(blocks) - 1
        if hunk and (last or j - i > 2 * CONTEXT_LINES):
            ends = min(j - i, CONTEXT_LINES)
            yield [*hunk, (what, i, i + ends, k, k + ends)]
            hunk = []
        if last:
            return
        begins = j - i if hunk else min(j - i, CONTEXT_LINES)
        hunk.append((what, j - begins, j, m - begins, m))
    if any(what != "equal" for what, *_ in hunk):
        yield hunk


def _range(first: int, end: int) -> str:
    """As diff(1) counts: from 1, of no lines the one before."""
    count = end - first
    if count == 1:
        return str(first + 1)
    return f"{first + 1 if count else first},{count}"
