"""Sealing: a frame opens where it was put, and only there; every changed bit shows."""

from __future__ import annotations

import os

import pytest

from engine.format.sealing import HEADER_BYTES, PackOpener, PackSealer
from engine.model.errors import Damaged
from engine.wire.frames import Frame, compress, open_frame

KEY = bytes(range(32))
SALT = bytes(32)
NAME = "packs/node.00000001/000000000001"


def frames() -> list[Frame]:
    return [compress(b"text " * 100), compress(os.urandom(40_000)), compress(b"x" * 200_000), compress(b"1")]


def sealed(given: list[Frame], name: str = NAME, key: bytes = KEY) -> tuple[bytes, list[int], list[int]]:
    sealer = PackSealer(name, key, 1, SALT)
    offsets, sizes = sealer.place(given)
    content = b"".join(bytes(chunk) for chunk in sealer.seal(given))
    assert sealer.size == len(content)
    return content, offsets, sizes


def test_frames_open_to_what_they_were() -> None:
    given = frames()
    content, offsets, sizes = sealed(given)
    assert offsets[0] == HEADER_BYTES and offsets[-1] + sizes[-1] == len(content)
    opener = PackOpener(NAME, content[:HEADER_BYTES], KEY)
    for frame, offset, size in zip(given, offsets, sizes, strict=True):
        assert opener.open(offset, content[offset : offset + size]) == open_frame(frame)


def test_content_is_not_to_be_seen() -> None:
    assert b"text text" not in sealed([Frame(0, 500, b"text " * 100)])[0]


def test_many_frames_are_longer_than_one_chunk() -> None:
    given = [Frame(0, 300_000, os.urandom(300_000)) for _ in range(40)]
    content, offsets, sizes = sealed(given)
    opener = PackOpener(NAME, content[:HEADER_BYTES], KEY)
    for frame, offset, size in zip(given, offsets, sizes, strict=True):
        assert opener.open(offset, content[offset : offset + size]) == frame.data


def test_every_flipped_bit_of_a_frame_shows() -> None:
    content, offsets, sizes = sealed([compress(b"abc" * 9)])
    opener = PackOpener(NAME, content[:HEADER_BYTES], KEY)
    frame = content[offsets[0] : offsets[0] + sizes[0]]
    for at in range(len(frame)):
        with pytest.raises(Damaged) as raised:
            opener.open(offsets[0], frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :])
        assert raised.value.details == {"object": NAME, "frame": offsets[0]}
        with pytest.raises(Damaged):
            opener.open(offsets[0], frame[:at])


def test_a_frame_opens_nowhere_else() -> None:
    given = [Frame(0, 100, b"a" * 100), Frame(0, 100, b"b" * 100)]
    content, offsets, sizes = sealed(given)
    second = content[offsets[1] : offsets[1] + sizes[1]]
    with pytest.raises(Damaged):
        PackOpener(NAME, content[:HEADER_BYTES], KEY).open(offsets[0], second)
    for name, key in ((NAME + "1", KEY), (NAME, bytes(32))):
        with pytest.raises(Damaged):
            PackOpener(name, content[:HEADER_BYTES], key).open(offsets[1], second)


def test_what_is_no_pack_is_named() -> None:
    for header in (b"", b"x" * 64, sealed(frames())[0][:63]):
        with pytest.raises(Damaged, match=NAME):
            PackOpener(NAME, header, KEY)
