"""The streams of a journal: their addresses, ids and epochs.

The youngest epoch is the current one; older ones may have grown on as branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from engine.journal import control, epochs
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
    """Every stream that the journal's reader may know of, by address in order."""
    found = [_info(journal, each) for each in epochs.streams(journal.store) if _seen(journal, each.id)]
    return {one.address: one for one in sorted(found, key=lambda one: one.address)}


def by_name(journal: Journal) -> dict[Address, StreamInfo]:
    """Every stream that the journal's reader may know of, as the policies call it now, else as at first."""
    numbers = control.numbers(journal.store, control.POLICIES)
    called = {stream: parse_address(name) for name, stream in (_named(journal, numbers[-1]) if numbers else {}).items()}
    found = {called.get(one.id, one.address): one for one in streams(journal).values()}
    return dict(sorted(found.items()))


def find(journal: Journal, address: str) -> StreamInfo:
    """The stream at GROUP/HOST/SOURCE: as the policies call it now, as it was called at first, or in between.

    NothingThere, with the nearest names, when there is none.
    """
    wanted = parse_address(address)
    known = streams(journal)
    ids = {one.id: one for one in known.values()}
    numbers = control.numbers(journal.store, control.POLICIES)
    now = _named(journal, numbers[-1]) if numbers else {}
    if now.get(address) in ids:
        return ids[now[address]]
    if wanted in known:
        return known[wanted]
    for number in reversed(numbers[:-1]):
        stream = _named(journal, number).get(address)
        if stream in ids:
            return ids[stream]
    names = list(dict.fromkeys([name for name, stream in now.items() if stream in ids] + [str(one) for one in known]))
    names = [name for name in names if not name.startswith("_")]  # streams of the program's own are no sources
    near = get_close_matches(address, names, n=3, cutoff=0.5) or names[:5]
    hint = f"there is {', '.join(near)}" if near else "nothing is protected yet: see `bcsctl apply`"
    raise NothingThere(f"there is no source {address}", hint=hint, details={"near": near})


def _named(journal: Journal, number: int) -> dict[str, str]:
    """{address: stream} of an applied policy, of what may be known."""
    sources = control.read(journal.store, control.POLICIES, number).get("sources", {})
    return {address: source["stream"] for address, source in sources.items() if _seen(journal, source["stream"])}


def _seen(journal: Journal, stream: str) -> bool:
    return journal.seen is None or journal.seen.stream(stream)


def info(journal: Journal, stream: str) -> StreamInfo:
    """What is known of one stream, by id. NothingThere when nothing is."""
    try:
        if _seen(journal, stream):
            return _info(journal, epochs.read_stream(journal.store, stream))
        raise Missing(stream)
    except Missing:
        raise NothingThere(f"there is no stream {stream}", hint="`bcsctl status` lists the sources") from None


def _info(journal: Journal, stream: epochs.Stream) -> StreamInfo:
    known = epochs.epochs(journal.store, stream.id)
    return StreamInfo(stream.id, stream.address, stream.group, stream.created_at, max(known, default=0), known)
