"""The streams of a journal: their addresses, ids and epochs.

The youngest epoch is the current one; older ones may have grown on as branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from engine.journal import epochs
from engine.journal.open import Journal
from engine.model.errors import NothingThere
from engine.model.ids import Address, parse_address
from engine.model.lineage import Epoch
from engine.store.base import Missing


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream. `epoch` is the current epoch's number, 0 while none was opened."""

    id: str
    address: Address
    group: str
    created_at: int
    epoch: int
    epochs: dict[int, Epoch]


def streams(journal: Journal) -> dict[Address, StreamInfo]:
    """Every stream, by address in order."""
    found = [_info(journal, stream) for stream in epochs.streams(journal.store)]
    return {one.address: one for one in sorted(found, key=lambda one: one.address)}


def find(journal: Journal, address: str) -> StreamInfo:
    """The stream at GROUP/HOST/SOURCE. NothingThere, with the nearest names, when there is none."""
    wanted = parse_address(address)
    known = streams(journal)
    if wanted in known:
        return known[wanted]
    names = [str(one) for one in known]
    near = get_close_matches(address, names, n=3, cutoff=0.5) or names[:5]
    hint = f"there is {', '.join(near)}" if near else "nothing is protected yet: see `bcsctl apply`"
    raise NothingThere(f"there is no source {address}", hint=hint, details={"near": near})


def info(journal: Journal, stream: str) -> StreamInfo:
    """What is known of one stream, by id. NothingThere when nothing is."""
    try:
        return _info(journal, epochs.read_stream(journal.store, stream))
    except Missing:
        raise NothingThere(f"there is no stream {stream}", hint="`bcsctl status` lists the sources") from None


def _info(journal: Journal, stream: epochs.Stream) -> StreamInfo:
    known = epochs.epochs(journal.store, stream.id)
    return StreamInfo(stream.id, stream.address, stream.group, stream.created_at, max(known, default=0), known)
