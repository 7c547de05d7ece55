"""Unified diffs: what is shown, applied to the old text, gives the new one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.recovery.on_disk.lines import CONTEXT_LINES, is_text, unified

_RANGE = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@\n")
lines = st.lists(st.sampled_from([b"a", b"b", b"c", b"", b"d\r"]), max_size=40)
texts = st.builds(lambda parts, end: b"\n".join(parts) + end, lines, st.sampled_from([b"", b"\n"]))


def applied(old: bytes, diff: list[bytes]) -> bytes:
    """The old text with a diff applied, as patch(1) does it, every word of it checked."""
    parts = old.split(b"\n")
    left = [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    done: list[bytes] = []
    at, counted = 0, [0, 0]
    for line in diff[2:]:
        begins = _RANGE.fullmatch(line)
        if begins:
            assert counted == [0, 0], "a range counts other lines than follow"
            first, count, new_first, new_count = (int(group) if group else 1 for group in begins.groups())
            first -= 0 if count == 0 else 1
            done += left[at:first]
            at = first
            counted = [count, new_count]
            assert len(done) == new_first - (0 if new_count == 0 else 1)
            continue
        sign, body = line[:1], line[1:].removesuffix(b"\n\\ No newline at end of file\n")
        counted[0] -= sign in b" -"
        counted[1] -= sign in b" +"
        if sign in b" -":
            assert left[at] == body
            at += 1
        if sign in b" +":
            done.append(body)
    assert counted == [0, 0]
    return b"".join(done + left[at:])


@given(texts, texts)
def test_a_diff_leads_from_the_old_text_to_the_new(old: bytes, new: bytes) -> None:
    diff = list(unified(old, new, "old", "new"))
    assert bool(diff) == (old != new)
    if diff:
        assert diff[:2] == [b"--- old\n", b"+++ new\n"]
        assert applied(old, diff) == new


def test_far_changes_stand_apart_with_a_few_lines_around() -> None:
    old = b"".join(b"%d\n" % number for number in range(100))
    diff = list(unified(old, old.replace(b"\n10\n", b"\nten\n").replace(b"\n90\n", b"\n"), "a", "b"))
    assert [line for line in diff if line.startswith(b"@@")] == [b"@@ -8,7 +8,7 @@\n", b"@@ -88,7 +88,6 @@\n"]
    assert sum(line.startswith(b" ") for line in diff) == 4 * CONTEXT_LINES


@pytest.mark.parametrize("data, text", [(b"", True), (b"caf\xe9\n", True), (b"a\0b", False)])
def test_a_zero_byte_is_no_text(data: bytes, text: bool) -> None:
    assert is_text(data) is text
