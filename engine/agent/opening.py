"""Opening a stream: the record and the node compare where they are, and the record follows the node.

Four outcomes. Equal, or the node behind by batches that are in the spool: ship them. The node lacks batches that were
sent directly: roll back to its head and look again. A new epoch from a position of the record: the same, in the new
epoch. Anything else: the record says nothing about what the node has, and the history begins anew from a fresh
baseline; all its inodes are new, so nothing of the old tree shines through.
"""

from __future__ import annotations

from typing import Any

from engine.agent.client import Head
from engine.agent.record import Record, Sent
from engine.wire.batch import NO_HASH

CANDIDATES_MAX = 10_000


def claim(record: Record) -> dict[str, Any] | None:
    """What to tell the node: the last position known to be acknowledged, and batches made since that it may have.

    None for a record that has never been in an epoch.
    """
    if not record.fact("epoch"):
        return None
    return {
        "epoch": record.fact("epoch"),
        "lsn": record.fact("acked_lsn", 0),
        "hash": record.fact("acked_hash", NO_HASH).hex(),
        "pending": [{"lsn": sent.lsn_last, "hash": sent.hash.hex()} for sent in record.sent()[:CANDIDATES_MAX]],
    }


def follow(record: Record, head: Head) -> tuple[list[Sent], bool]:
    """Bring the record in line with the node's head, durably.

    The batches to ship, all of which are in the spool, and whether the disk must be looked at again because something
    that the record knew is not on its way.
    """
    sent = record.sent()
    acked = (record.fact("acked_lsn", 0), record.fact("acked_hash", NO_HASH))
    ends = [acked, *((each.lsn_last, each.hash) for each in sent)]
    if not record.fact("epoch") or (head.lsn, head.hash) not in ends:
        if record.fact("epoch"):
            record.clear()
        record.set_fact("epoch", head.epoch)
        record.acknowledge(head.lsn, head.hash)
        record.commit()
        return [], True
    record.acknowledge(head.lsn, head.hash)
    left = [each for each in sent if each.lsn_last > head.lsn]
    lost = head.epoch != record.fact("epoch") or any(each.place.segment < 0 for each in left)
    if lost:
        record.roll_back(head.lsn)
        left = []
    record.set_fact("epoch", head.epoch)
    record.commit()
    return left, lost
