"""What a committer knows of its streams: epochs, heads, watermarks. Kept in memory, recovered from the store at start.

No locks and no I/O here: the committer holds its own lock around every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.journal.epochs import Stream
from engine.journal.heads import Head, StreamHeads, start_of
from engine.journal.sequence import EpochSequence, Known
from engine.model.errors import Refused
from engine.model.lineage import Epoch
from engine.wire.batch import Batch


class Ledger:
    """Streams by id, each with its epochs and their sequences by number."""

    def __init__(self, recovered: Mapping[str, StreamHeads]) -> None:
        self.streams: dict[str, Stream] = {}
        self._epochs: dict[str, dict[int, Epoch]] = {}
        self._sequences: dict[str, dict[int, EpochSequence]] = {}
        self._through: dict[str, int] = {}
        self._advanced: dict[str, int] = {}
        for each in recovered.values():
            self.add(each.stream)
            self._epochs[each.stream.id] = dict(each.epochs)
            self._sequences[each.stream.id] = {n: EpochSequence.at(head) for n, head in each.heads.items()}
            self._through[each.stream.id] = each.current.through_at if each.current else 0

    def add(self, stream: Stream) -> None:
        """A stream that was registered. Idempotent."""
        self.streams.setdefault(stream.id, stream)
        self._epochs.setdefault(stream.id, {})
        self._sequences.setdefault(stream.id, {})

    def stream(self, stream: str) -> Stream:
        """Raises Refused for one that is not registered."""
        known = self.streams.get(stream)
        if known is None:
            raise Refused(
                f"stream {stream} is not registered here", hint="apply the policy that protects it, then open it again"
            )
        return known

    def current(self, stream: str) -> tuple[Epoch | None, Head | None]:
        """The newest epoch of a stream and its committed head."""
        epochs = self._epochs[self.stream(stream).id]
        if not epochs:
            return None, None
        number = max(epochs)
        return epochs[number], self._sequences[stream][number].durable

    def grant(self, stream: str, epoch: Epoch) -> Head:
        """A new epoch; its head, in which nothing is committed yet. Idempotent."""
        self._epochs[stream].setdefault(epoch.number, epoch)
        sequence = self._sequences[stream].setdefault(epoch.number, EpochSequence.at(start_of(epoch)))
        return sequence.durable

    def sequence(self, batch: Batch) -> EpochSequence | None:
        return self._sequences.get(batch.stream, {}).get(batch.epoch)

    def duplicate(self, batch: Batch) -> Known | None:
        """The batch as it was committed before; None if it was not, or is on its way."""
        sequence = self.sequence(batch)
        known = sequence.known(batch) if sequence else None
        return known if known and known.committed_at else None

    def committed(self, batch: Batch, committed_at: int) -> None:
        """`batch`, which was on its way, is committed."""
        self._sequences[batch.stream][batch.epoch].committed(batch, committed_at)

    def forget_pending(self) -> None:
        """Nothing is on its way any more: what was, has failed."""
        for sequences in self._sequences.values():
            for sequence in sequences.values():
                sequence.forget_pending()

    def heads(self) -> dict[str, Head]:
        """The committed head of each stream's newest epoch, with the stream's watermark; streams without epochs left
        out."""
        found: dict[str, Head] = {}
        for name in self.streams:
            _, head = self.current(name)
            if head is not None:
                found[name] = replace(head, through_at=self._through.get(name, 0))
        return found

    # Watermarks, in site time, microseconds.

    @property
    def advanced(self) -> bool:
        """Whether some watermark has advanced since it was last taken for a commit."""
        return bool(self._advanced)

    def watermark(self, stream: str, through_at: int) -> None:
        if stream in self.streams and through_at > self._through.get(stream, 0):
            self._through[stream] = self._advanced[stream] = through_at

    def take_watermarks(self) -> dict[str, int]:
        """Those that have advanced since they were last taken."""
        taken, self._advanced = self._advanced, {}
        return taken

    def a_watermark(self) -> dict[str, int]:
        """One, advanced or not; none where no stream has an epoch."""
        return {name: head.through_at for name, head in list(self.heads().items())[:1]}

    def return_watermarks(self, watermarks: Mapping[str, int]) -> None:
        """They did not make it into a commit."""
        for stream, through_at in watermarks.items():
            self._advanced[stream] = max(through_at, self._advanced.get(stream, 0))
