"""A record that begins with a tree as a recovery on demand has brought it back, instead of with nothing.

What the rows say is what the journal has at the point that was recovered; which inodes they mean is what was made
then. So whatever was done to the tree since the first moment differs from the record, and is found by looking.
"""

from __future__ import annotations

import os
import stat as st
from collections.abc import Callable

from engine.agent.kept.record import Known, Record, signed
from engine.agent.recovered.standing import MOUNTED, Standing
from engine.agent.ship.client import Head
from engine.drivers.files import Scope, within
from engine.fill.kept import names, table
from engine.fill.kept.names import Name
from engine.model.events import FILE, ROOT_ID
from engine.model.ids import parse_position
from engine.tree.attributes import TYPES

RECOVERY = "recovery"
"""The fact that names the recovery whose tree the record began with."""

_BITS = {letter: bits for bits, letter in TYPES.items()}
_NOWHERE = (-1, -1)
"""The number of an inode that can't be found: whatever has its name now is another one."""


def seed(
    record: Record, standing: Standing, head: Head, scope: Scope, now: int, sure: Callable[[], None] = lambda: None
) -> None:
    """Make the record that of the recovered tree, durably. `head` is where the node goes on from: the point recovered.
    `now` is site time: what happened before it is in the look that follows. `sure` raises what ends it, with nothing
    done, when it was not the tree that was looked at."""
    recipe, position = standing.recipe, parse_position(standing.recipe.position)
    kept = {name: record.fact(name, 0) for name in ("batch_version",)}
    record.clear()
    dev = standing.dev
    numbers = {file.file_id: (dev or file.dev, file.ino) for file in table.read(standing.place.files)}
    directories = {b"/": ROOT_ID}
    for one in names.read(standing.place.names):
        if one.path != b"/":
            above, name = os.path.split(one.path)
            record.put_name(directories[above], name, one.file_id, position.lsn)
        if one.type == "d":
            directories[one.path] = one.file_id
        _put(record, one, numbers.get(one.file_id) or _found(one, scope), position.lsn)
    facts = {
        **kept,
        **{RECOVERY: recipe.id, MOUNTED: dev or 0, "epoch": head.epoch, "baseline_lsn": position.lsn},
        **{"at": recipe.point_at, "through_at": now, "mark_at": now, "clean": 0},
    }
    for fact, value in facts.items():
        record.set_fact(fact, value)
    sure()
    record.acknowledge(head.lsn, head.hash)
    record.commit()


def _found(one: Name, scope: Scope) -> tuple[int, int]:
    """The number of an inode that has nothing cold: of what is at its name, if it is of its kind."""
    if one.type == FILE and one.size and any(within(one.path, root) for root in scope.roots):
        return _NOWHERE  # a file with bytes that the recovery knows nothing of: all of it is new
    try:
        status = os.lstat(scope.real(one.path))
    except OSError:
        return _NOWHERE
    return (status.st_dev, status.st_ino) if st.S_IFMT(status.st_mode) == _BITS[one.type] else _NOWHERE


def _put(record: Record, one: Name, number: tuple[int, int], lsn: int) -> None:
    head = (one.file_id, *signed(*number), _BITS[one.type] | one.mode, one.uid, one.gid)
    record.put_known(Known(*head, one.size, one.mtime_ns, -1, one.rdev, one.target, one.xattrs), lsn)
