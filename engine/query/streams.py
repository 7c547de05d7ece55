"""The streams of a journal: their addresses, ids and epochs.

The youngest epoch is the current one; older ones may have grown on as branches.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from engine.model.errors import Damaged, NothingThere
from engine.model.ids import Address, parse_address, parse_position
from engine.model.lineage import Epoch
from engine.store.base import Missing, Store


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream. `epoch` is the current epoch's number, 0 while none was opened."""

    id: str
    address: Address
    group: str
    created_at: int
    epoch: int
    epochs: dict[int, Epoch]


def streams(journal: Any) -> dict[Address, StreamInfo]:
    """Every stream, by address in order."""
    found = [info(journal, stream) for stream in stream_ids(journal.store)]
    return {one.address: one for one in sorted(found, key=lambda one: one.address)}


def find(journal: Any, address: str) -> StreamInfo:
    """The stream at GROUP/HOST/SOURCE. NothingThere, with the nearest names, when there is none."""
    wanted = parse_address(address)
    known = streams(journal)
    if wanted in known:
        return known[wanted]
    names = [str(one) for one in known]
    near = get_close_matches(address, names, n=3, cutoff=0.5) or names[:5]
    hint = f"there is {', '.join(near)}" if near else "nothing is protected yet: see `bcsctl apply`"
    raise NothingThere(f"there is no source {address}", hint=hint, details={"near": near})


def stream_ids(store: Store) -> list[str]:
    """The ids of all streams, sorted. Steps over what lies below a stream instead of listing it."""
    ids: list[str] = []
    after = ""
    while True:
        item = next(iter(store.list("streams/", after)), None)
        if item is None:
            return ids
        stream = item.key.split("/")[1]
        ids.append(stream)
        after = f"streams/{stream}/~"


def info(journal: Any, stream: str) -> StreamInfo:
    """What is known of one stream, by id. NothingThere when nothing is."""
    try:
        head = _read_json(journal.store, f"streams/{stream}/stream.json")
    except Missing:
        raise NothingThere(f"there is no stream {stream}", hint="`bcsctl status` lists the sources") from None
    known = epochs(journal, stream)
    address = parse_address(head["address"])
    return StreamInfo(
        stream, address, head.get("group", address.group), head.get("created_at", 0), max(known, default=0), known
    )


def epochs(journal: Any, stream: str) -> dict[int, Epoch]:
    """A stream's epochs by number."""
    found: dict[int, Epoch] = {}
    for item in journal.store.list(f"streams/{stream}/epochs/"):
        value = _read_json(journal.store, item.key)
        parent = parse_position(value["parent"]) if value.get("parent") else None
        epoch = Epoch(value["number"], parent, value["cause"], value["writer"], value["opened_at"])
        found[epoch.number] = epoch
    return found


def _read_json(store: Store, key: str) -> dict[str, Any]:
    try:
        value = json.loads(store.get(key))
    except ValueError as error:
        raise Damaged(f"object {key} is not JSON: {error}", details={"object": key}) from None
    if not isinstance(value, dict):
        raise Damaged(f"object {key} is not a JSON object", details={"object": key})
    return value
