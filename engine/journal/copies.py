"""Copies: extents whose bytes the stream has already. An agent names them; what they are is read here, and compared.

Nothing is taken on an agent's word: the extent that it names must be committed, in this stream, on the lineage of the
batch's epoch, of the file and at least of the length that it says; its bytes are opened, match the hash that they were
committed with, and have the digest that the agent gave. What comes out are extents like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from engine.format import hashes
from engine.format.tables import Copied
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.errors import Damaged, Refused
from engine.model.events import DataRef, Extent
from engine.wire.batch import Batch, meant

CACHE_BYTES = 16 << 20
READ_BYTES_MAX = 256 << 20
"""Of frames as stored, for the copies of one batch."""

Lookup = Callable[[str, int, Collection[int]], Mapping[int, Extent]]
"""(stream, epoch, LSNs) -> those of them that are committed extents with bytes, on the lineage of the epoch."""


class CopyRefused(Refused):
    """A batch refers to content that the stream does not have, or not as it says."""

    code = "copy-refused"

    def __init__(self, batch: Batch, lsn: int, reason: str) -> None:
        super().__init__(
            f"events {batch.lsn_first} to {batch.lsn_last} of stream {batch.stream} refer to event {lsn}: {reason}",
            hint="send the bytes; what the stream has can't be referred to like this",
            details={"stream": batch.stream, "from_lsn": lsn, "reason": reason},
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """One row of a batch's table `copy`."""

    from_file: int
    from_lsn: int
    skip: int
    length: int
    digest: bytes


class Copies:
    """Resolves the copies of batches. Safe to use from several threads."""

    def __init__(self, journal: Journal, lookup: Lookup) -> None:
        self._journal, self._lookup = journal, lookup
        self._reader = DataReader(journal, cache_bytes=CACHE_BYTES)

    def of(self, batch: Batch, key: bytes) -> Sequence[Copied]:
        """Where the bytes of each row of `copy` are, in order; `key` is the one of the group's hashes. CopyRefused."""
        asked = _asked(batch)
        if not asked:
            return ()
        try:
            found = self._lookup(batch.stream, batch.epoch, {each.from_lsn for each in asked})
        except Damaged as error:
            raise CopyRefused(batch, asked[0].from_lsn, error.message) from error
        refuse_beyond(batch, found)
        copied: dict[int, Copied] = {}
        for row in sorted(range(len(asked)), key=lambda row: _place(found.get(asked[row].from_lsn))):
            copied[row] = self._one(batch, asked[row], found.get(asked[row].from_lsn), key)
        return [copied[row] for row in range(len(asked))]

    def _one(self, batch: Batch, asked: _Asked, extent: Extent | None, key: bytes) -> Copied:
        if extent is None or extent.data is None:
            raise CopyRefused(batch, asked.from_lsn, "it is no committed extent of this history that has bytes")
        if extent.file_id != asked.from_file:
            raise CopyRefused(batch, asked.from_lsn, f"it is not of file {asked.from_file}")
        if asked.skip + asked.length > extent.length:
            reason = f"it has {extent.length} bytes, not {asked.length} from byte {asked.skip} on"
            raise CopyRefused(batch, asked.from_lsn, reason)
        try:
            whole = self._reader.read_extent(extent.data, extent.length, extent.hash, batch.stream)
        except Damaged as error:
            raise CopyRefused(batch, asked.from_lsn, error.message) from error
        part = whole[asked.skip : asked.skip + asked.length]
        if meant(part) != asked.digest:
            raise CopyRefused(batch, asked.from_lsn, "its bytes are not those that are meant")
        data = extent.data
        digest = extent.hash if asked.length == extent.length else hashes.extent_hash(part, key)
        return Copied(DataRef(data.pack, data.frame, data.frame_bytes, data.skip + asked.skip), digest)


def refuse_beyond(batch: Batch, extents: Mapping[int, Extent]) -> None:
    """CopyRefused for extents that lie in so many frames that opening them would keep others waiting."""
    frames = {(each.data.pack, each.data.frame): each.data.frame_bytes for each in extents.values() if each.data}
    if sum(frames.values()) > READ_BYTES_MAX:
        reason = f"its copies lie in frames of {sum(frames.values())} bytes, more than {READ_BYTES_MAX}"
        raise CopyRefused(batch, min(extents), reason)


def _place(extent: Extent | None) -> tuple[str, int]:
    """By pack and frame, so that each frame is opened once."""
    return (extent.data.pack, extent.data.frame) if extent is not None and extent.data is not None else ("", 0)


def _asked(batch: Batch) -> list[_Asked]:
    copies = batch.tables.get("copy")
    if not copies:
        return []
    columns = (copies[name] for name in ("from_file", "from_lsn", "skip", "length", "digest"))
    return [_Asked(*row) for row in zip(*columns, strict=True)]


def nothing_known(stream: str, epoch: int, lsns: Collection[int]) -> Mapping[int, Extent]:
    """The look-up of a committer that nobody gave one: every copy is refused."""
    return {}
