"""Output as it travels."""

from __future__ import annotations

from io import BytesIO

import pytest

from engine.wire.output import ALIVE, END, ERR, FAILED, FRAME_BYTES_MAX, OUT, BrokenOff, frame, frames

WHOLE = frame(OUT, b"\x00\xffone") + frame(ALIVE) + frame(ERR, b"two\n") + frame(END, b"{}")


def test_what_is_sent_is_read() -> None:
    assert list(frames(BytesIO(WHOLE).read)) == [(OUT, b"\x00\xffone"), (ALIVE, b""), (ERR, b"two\n"), (END, b"{}")]


def test_nothing_is_read_behind_the_last_frame() -> None:
    source = BytesIO(frame(FAILED, b"{}") + b"more")
    assert list(frames(source.read)) == [(FAILED, b"{}")] and source.read() == b"more"


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_an_end_in_the_middle_is_no_end(length: int) -> None:
    with pytest.raises(BrokenOff):
        list(frames(BytesIO(WHOLE[:length]).read))


@pytest.mark.parametrize("bad", [b"z\0\0\0\0", b"o" + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"), b"HTTP/1.1 200"])
def test_what_is_no_frame_is_not_waited_for(bad: bytes) -> None:
    with pytest.raises(BrokenOff):
        list(frames(BytesIO(bad + b"x" * 100).read))
