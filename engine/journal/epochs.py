"""Streams and their epochs, as documents in the store. An epoch is granted by creating its document."""

from __future__ import annotations

from dataclasses import dataclass

from engine.env.clock import Clock
from engine.format import names
from engine.journal import documents
from engine.model.ids import Address, Position, parse_address, parse_position, stream_id
from engine.model.lineage import Epoch
from engine.store.base import AlreadyThere, Store


@dataclass(frozen=True, slots=True)
class Stream:
    """One protected source's history. `group` is the one whose key its extents are hashed with: that of the address
    it was first given. `created_at` is the node's time, microseconds."""

    id: str
    address: Address
    group: str
    created_at: int


def register(store: Store, address: Address, clock: Clock) -> Stream:
    """The stream of a source, made if there is none."""
    stream = stream_id(address)
    fields = {"address": str(address), "group": address.group, "created_at": clock.now()}
    try:
        documents.put(store, names.stream_key(stream), fields)
    except AlreadyThere:
        pass
    return read_stream(store, stream)


def read_stream(store: Store, stream: str) -> Stream:
    """Raises Missing for an unknown one, Damaged."""
    fields = documents.get(store, names.stream_key(stream))
    return Stream(stream, parse_address(fields["address"]), str(fields["group"]), int(fields["created_at"]))


def streams(store: Store) -> list[Stream]:
    """All streams, by id."""
    found = (item.key.split("/") for item in store.list(names.STREAMS))
    return [read_stream(store, parts[1]) for parts in found if len(parts) == 3 and parts[2] == "stream.json"]


def epochs(store: Store, stream: str) -> dict[int, Epoch]:
    """All epochs of a stream by number, ascending; none for a stream that nobody has written to."""
    return {number: read_epoch(store, stream, number) for number in _numbers(store, stream)}


def read_epoch(store: Store, stream: str, number: int) -> Epoch:
    fields = documents.get(store, names.epoch_key(stream, number))
    parent = parse_position(fields["parent"]) if fields["parent"] is not None else None
    return Epoch(number, parent, str(fields["cause"]), str(fields["writer"]), int(fields["opened_at"]))


def grant(
    store: Store, stream: str, number: int, parent: Position | None, cause: str, writer: str, clock: Clock
) -> Epoch:
    """Open epoch `number` of a stream, continuing `parent`. Raises AlreadyThere when somebody else was first."""
    fields = {
        "parent": str(parent) if parent else None,
        "cause": cause,
        "writer": writer,
        "opened_at": clock.now(),
    }
    documents.put_number(store, names.epochs_prefix(stream), number, fields)
    return read_epoch(store, stream, number)


def _numbers(store: Store, stream: str) -> list[int]:
    return documents.numbers(store, names.epochs_prefix(stream))
