"""Contents from the node that granted the restore: see engine.fill.base.Supply.

Each extent's bytes are compared with their hash here, too. What the node refuses, since the restore is over, say, is
as if it were away: who reads waits for the set time and has an error, and nobody has zeros.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence

from blake3 import blake3

from engine.agent.restore.on_demand import where
from engine.agent.restore.on_demand.client import TreeClient
from engine.agent.restore.receive import rows_of
from engine.fill.base import Away, ColdFile, Place, Recipe
from engine.fill.life.starting import home_of
from engine.model.errors import BcsError, Damaged
from engine.wire.batch import HASH_BYTES, Batch
from engine.wire.errors import Malformed
from engine.wire.frames import open_frame


class NodeSupply:
    """Safe for several threads: each has a connection of its own."""

    def __init__(self, place: Place, recipe: Recipe) -> None:
        self._place, self._id = place, recipe.id
        self._told = where.read(place)
        self._client = self._asked()

    def read(self, file: ColdFile, offset: int, length: int) -> Sequence[tuple[int, memoryview]]:
        try:
            batch = self._client.range(file.file_id, offset, length)
        except (BcsError, OSError) as error:
            self._look_again()
            raise Away(str(error)) from error
        try:
            return list(_parts(batch, file.file_id, offset, offset + length))
        except (Malformed, ValueError, KeyError, IndexError) as error:
            raise Away(f"the node's answer can't be read: {error}") from error

    def heat(self) -> dict[int, tuple[int, int]]:
        try:
            return self._client.heat()
        except BcsError as error:
            raise Away(error.message) from error

    def close(self) -> None:
        pass

    def _asked(self) -> TreeClient:
        return TreeClient(home_of(self._place), self._id, self._told)

    def _look_again(self) -> None:
        """Whether the node is to be found elsewhere by now."""
        told = where.read(self._place)
        if told and told != self._told:
            self._told = told
            self._client = self._asked()


def _parts(batch: Batch, file_id: int, start: int, end: int) -> Iterator[tuple[int, memoryview]]:
    """The bytes that a range's batch has, in order. Damaged for what the journal has lost."""
    hashes = b""
    for topic, payload in rows_of(batch, "record", "topic", "payload"):
        if topic == b"failed":
            raise Damaged(str(json.loads(payload)["message"]))
        if topic == b"hashes":
            hashes = base64.b64decode(payload, validate=True)
    opened = [open_frame(frame) for frame in batch.frames]
    rows = rows_of(batch, "extent", "file_id", "offset", "length", "frame", "skip")
    reached = start
    for index, (of_file, offset, length, frame, skip) in enumerate(rows):
        if of_file != file_id or frame < 0 or not reached <= offset <= offset + length <= end:
            raise Malformed(f"{length} bytes at {offset} of file {of_file} were not asked for")
        part = opened[frame][skip : skip + length]
        if len(part) != length or blake3(part).digest(HASH_BYTES) != _nth(hashes, index):
            raise Malformed(f"the {length} bytes at {offset} do not match their hash")
        reached = offset + length
        yield offset, part


def _nth(hashes: bytes, index: int) -> bytes:
    return hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
