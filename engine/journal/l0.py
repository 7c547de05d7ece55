"""One commit as objects: a pack of sealed frames, then a segment of rows. The segment is the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import pyarrow as pa
from blake3 import blake3

from engine.env.randomness import token_bytes
from engine.format import names, parquet, tables
from engine.format.footer import Footer, Pack, Run, StreamFooter, join_runs
from engine.format.schema import EVENTS
from engine.format.sealing import SALT_BYTES as SALT
from engine.format.sealing import PackSealer
from engine.format.tables import Placed, Prepared
from engine.journal.keyring import NUMBER
from engine.journal.open import Journal
from engine.store.base import Upload

OVERLAP_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Draft:
    """A commit laid out: its pack is written but not durable yet (`upload`, None without frames), `rows` are final.

    `watermarks` are by stream, site time in microseconds. `committed_at` is the node's time.
    """

    node: str
    boot: int
    seq: int
    committed_at: int
    prepared: tuple[Prepared, ...]
    watermarks: Mapping[str, int]
    rows: pa.Table
    pack: Pack | None
    upload: Upload | None

    def drop(self) -> None:
        """Leave no trace of the pack, unless it is durable already."""
        if self.upload is not None:
            self.upload.abort()


def lay_out(
    journal: Journal,
    node: str,
    boot: int,
    seq: int,
    committed_at: int,
    prepared: Sequence[Prepared],
    watermarks: Mapping[str, int],
) -> Draft:
    """Seal and write the pack, place the rows. Write-back begins at once; nothing is visible yet."""
    key = names.pack_key(node, boot, seq)
    frames = [frame for each in prepared for frame in each.batch.frames]
    upload, pack, placed = None, None, [Placed(each, (), ()) for each in prepared]
    if frames:
        sealer = PackSealer(key, journal.keyring.site_key(NUMBER), NUMBER, token_bytes(SALT))
        offsets, sizes = sealer.place(frames)
        placed = _divide(prepared, offsets, sizes)
        upload = journal.store.open_put(key)
        try:
            hasher = blake3()
            for chunk in sealer.seal(frames):
                hasher.update(chunk)
                upload.write(chunk)
        except BaseException:
            upload.abort()
            raise
        pack = Pack(key, sealer.size, hasher.hexdigest(names.HASH_BYTES))
    rows = tables.assemble(placed, key, committed_at) if prepared else EVENTS.empty_table()
    return Draft(node, boot, seq, committed_at, tuple(prepared), dict(watermarks), rows, pack, upload)


def finish(draft: Draft, prev: str, syncer: Executor) -> tuple[str, pa.Buffer]:
    """Make the pack durable; the segment's key and content, which is encoded while a large pack is being synced.

    `prev` is the content hash of the commit before.
    """
    if draft.upload is None or draft.pack is None:
        return encode(draft, prev)
    if draft.pack.bytes < OVERLAP_BYTES:  # both together would only wait for each other
        draft.upload.commit()
        return encode(draft, prev)
    syncing = syncer.submit(draft.upload.commit)
    try:
        return encode(draft, prev)
    finally:
        syncing.result()


def encode(draft: Draft, prev: str) -> tuple[str, pa.Buffer]:
    """The segment's key and content; `prev` is the content hash of the commit before."""
    runs: dict[str, list[Run]] = {}
    for each in draft.prepared:
        batch = each.batch
        run = Run(batch.epoch, batch.lsn_first, batch.lsn_last, batch.prev.hex(), batch.hash.hex())
        runs.setdefault(batch.stream, []).append(run)
    streams = {
        name: StreamFooter(join_runs(runs.get(name, ())), draft.watermarks.get(name, 0))
        for name in {*runs, *draft.watermarks}
    }
    footer = Footer(
        draft.node,
        draft.boot,
        draft.seq,
        draft.seq,
        draft.committed_at,
        draft.committed_at,
        prev,
        packs=(draft.pack,) if draft.pack else (),
        streams=streams,
    )
    content = parquet.encode(draft.rows, footer.encode())
    return names.l0_key(draft.node, draft.boot, draft.seq, memoryview(content)), content


def _divide(prepared: Sequence[Prepared], offsets: Sequence[int], sizes: Sequence[int]) -> list[Placed]:
    """Each batch's share of the places, which are in the order of batches and frames."""
    placed: list[Placed] = []
    at = 0
    for each in prepared:
        end = at + len(each.batch.frames)
        placed.append(Placed(each, offsets[at:end], sizes[at:end]))
        at = end
    return placed
