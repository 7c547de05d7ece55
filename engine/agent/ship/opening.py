"""Opening a stream: the record and the node compare where they are, and the record follows the node.

Four outcomes. Equal, or the node behind by batches that are in the spool: ship them. The node lacks batches that were
sent directly: roll back to its head and look again. A new epoch from a position of the record: the same, in the new
epoch. Anything else: the record says nothing about what the node has, and a fresh baseline goes on from the node's
head. All its inodes are new, so nothing of the old tree shines through.
"""

from __future__ import annotations

from typing import Any

from engine.agent.kept.record import Record, Sent
from engine.agent.ship.client import Head
from engine.env.crash import crash
from engine.wire.batch import NO_HASH


def claim(record: Record) -> dict[str, Any] | None:
    """What to tell the node: the last batch made, sent or not. None for a record that has never been in an epoch.

    A batch is in the record before it is sent, so a node that has more than this has it from somebody else.
    """
    if not record.fact("epoch"):
        return None
    last = ([None, *record.sent()])[-1]
    lsn, hash = (
        (last.lsn_last, last.hash) if last else (record.fact("acked_lsn", 0), record.fact("acked_hash", NO_HASH))
    )
    acknowledged = record.fact("acked_lsn", 0)
    return {"epoch": record.fact("epoch"), "lsn": lsn, "hash": hash.hex(), "acknowledged": acknowledged}


def follow(record: Record, head: Head) -> tuple[list[Sent], bool]:
    """Bring the record in line with the node's head, durably.

    The batches to ship, all of which are in the spool, and whether the disk must be looked at again because something
    that the record knew is not on its way.
    """
    sent = record.sent()
    acked = (record.fact("acked_lsn", 0), record.fact("acked_hash", NO_HASH))
    ends = [acked, *((each.lsn_last, each.hash) for each in sent)]
    if not record.fact("epoch") or (head.lsn, head.hash) not in ends:
        kept = {name: record.fact(name, 0) for name in ("at", "through_at", "mark_at")}
        if record.fact("epoch"):
            record.clear()
        for name, value in kept.items():
            record.set_fact(name, value)
        record.set_fact("through_at", max(record.fact("through_at"), head.through_at))
        record.set_fact("epoch", head.epoch)
        record.acknowledge(head.lsn, head.hash)
        crash("record-beginning")
        record.commit()
        return [], True
    record.acknowledge(head.lsn, head.hash)
    left = [each for each in sent if each.lsn_last > head.lsn]
    lost = head.epoch != record.fact("epoch") or any(each.place.segment < 0 for each in left)
    if lost:
        record.roll_back(head.lsn)
        left = []
    record.set_fact("epoch", head.epoch)
    # What the node heard of an idle source may be news to a record that was not closed in good order.
    record.set_fact("through_at", max(record.fact("through_at", 0), head.through_at))
    crash("record-following")
    record.commit()
    return left, lost
