"""Packs: frames of one commit, each sealed on its own (docs/format.md, "Pack").

    header 64 bytes   "BCSPACK1", u32 version, u32 number of the data key, 32 bytes salt, 16 bytes key scope
    frame             u32 raw bytes, u8 codec, 3 zero bytes; ciphertext; tag of 16 bytes        repeated

AES-256-GCM. The pack's own key is HKDF-SHA256(data key, salt, "bcs pack"), so a nonce need not be random: it is the
frame's offset in the pack. What is authenticated besides is the pack's object key and the frame's header: a frame
opens at its own place in its own pack, and nowhere else. All integers are little endian, the nonce is big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.model.errors import Damaged
from engine.wire.errors import Malformed
from engine.wire.frames import Frame, open_frame

MAGIC = b"BCSPACK1"
VERSION = 1
HEADER_BYTES = 64
SALT_BYTES = 32
FRAME_HEADER_BYTES = 8
TAG_BYTES = 16
FRAME_OVERHEAD_BYTES = FRAME_HEADER_BYTES + TAG_BYTES

_HEADER = struct.Struct("<8sII32s16s")
_FRAME = struct.Struct("<IB3x")
_NONCE = struct.Struct(">4xQ")
_SCRATCH_BYTES = 4 << 20


class PackSealer:
    """Turns frames into the bytes of one pack. Once only per (key, salt): the salt must be new and random."""

    def __init__(self, key: str, data_key: bytes, data_key_number: int, salt: bytes, scope: str = "site") -> None:
        self._name = key.encode()
        self._cipher = AESGCM(_derive(data_key, salt))
        self._header = _HEADER.pack(MAGIC, VERSION, data_key_number, salt, scope.encode())
        self.size = HEADER_BYTES

    def place(self, frames: Iterable[Frame]) -> tuple[list[int], list[int]]:
        """Where the frames will begin and how long they will be, in bytes, if sealed next and in this order."""
        at = self.size
        offsets: list[int] = []
        sizes: list[int] = []
        for frame in frames:
            size = len(frame.data) + FRAME_OVERHEAD_BYTES
            offsets.append(at)
            sizes.append(size)
            at += size
        return offsets, sizes

    def seal(self, frames: Iterable[Frame]) -> Iterator[memoryview]:
        """The pack from its header on, in chunks. A chunk is good until the next one is asked for."""
        scratch = bytearray(_SCRATCH_BYTES)
        view = memoryview(scratch)
        view[:HEADER_BYTES] = self._header
        filled = HEADER_BYTES
        for frame in frames:
            size = len(frame.data) + FRAME_OVERHEAD_BYTES
            if filled + size > len(view):
                yield view[:filled]
                filled = 0
                if size > len(view):
                    view = memoryview(bytearray(size))
            self._seal_into(frame, view[filled : filled + size])
            filled += size
        yield view[:filled]

    def _seal_into(self, frame: Frame, target: memoryview) -> None:
        _FRAME.pack_into(target, 0, frame.raw_bytes, frame.codec)
        authenticated = self._name + bytes(target[:FRAME_HEADER_BYTES])
        self._cipher.encrypt_into(_NONCE.pack(self.size), frame.data, authenticated, target[FRAME_HEADER_BYTES:])
        self.size += len(target)


class PackOpener:
    """Opens single frames of one pack. Safe to use from several threads."""

    def __init__(self, key: str, header: bytes, data_key: bytes) -> None:
        _, salt = read_header(key, header)
        self.key = key
        self._name = key.encode()
        self._cipher = AESGCM(_derive(data_key, salt))

    def open(self, offset: int, sealed: bytes | memoryview) -> memoryview:
        """The raw bytes of the frame that begins at `offset`. Raises Damaged, naming pack and frame."""
        return self.opened(offset, self.unseal(offset, sealed))

    def unseal(self, offset: int, sealed: bytes | memoryview) -> Frame:
        """The frame that begins at `offset`, still compressed. Raises Damaged, naming pack and frame."""
        if len(sealed) < FRAME_OVERHEAD_BYTES:
            raise frame_damaged(self.key, offset, f"{len(sealed)} bytes are no frame")
        head = bytes(sealed[:FRAME_HEADER_BYTES])
        raw_bytes, codec = _FRAME.unpack(head)
        try:
            closed = memoryview(sealed)[FRAME_HEADER_BYTES:]
            data = self._cipher.decrypt(_NONCE.pack(offset), closed, self._name + head)
        except InvalidTag:
            raise frame_damaged(self.key, offset, "its seal does not match its content") from None
        return Frame(codec, raw_bytes, data)

    def opened(self, offset: int, frame: Frame) -> memoryview:
        """The raw bytes of a frame that `unseal` gave for `offset`. Raises Damaged, naming pack and frame."""
        try:
            return open_frame(frame)
        except Malformed as error:
            raise frame_damaged(self.key, offset, error.message) from None


def read_header(key: str, header: bytes) -> tuple[int, bytes]:
    """(number of the data key, salt) from a pack's first 64 bytes. Raises Damaged."""
    if len(header) == HEADER_BYTES:
        magic, version, number, salt, _ = _HEADER.unpack(header)
        if magic == MAGIC and version == VERSION:
            return number, salt
    raise Damaged(
        f"pack {key} does not begin as a pack of version {VERSION} does",
        hint="run `bcsctl check --read-data` to see what it affects",
        details={"object": key},
    )


def frame_damaged(key: str, offset: int, why: str) -> Damaged:
    return Damaged(
        f"pack {key}, frame at {offset}: {why}",
        hint="run `bcsctl check --read-data` to see what it affects",
        details={"object": key, "frame": offset},
    )


def _derive(data_key: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=b"bcs pack").derive(data_key)
