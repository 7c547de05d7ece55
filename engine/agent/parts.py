"""What a session captures with, made once and wired here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.agent.capture.cache import OldBlocks
from engine.agent.capture.hints import Hints
from engine.agent.capture.look import Capture
from engine.agent.capture.outbox import Outbox
from engine.agent.capture.places import Places
from engine.agent.capture.walk import Walk
from engine.agent.kept.record import Record
from engine.agent.kept.spool import Spool
from engine.agent.marks import Marks
from engine.agent.ranges.base import Writes
from engine.agent.settings import Begun
from engine.agent.ship.shipper import Shipper
from engine.agent.watch.base import Watcher


@dataclass(frozen=True, slots=True)
class Parts:
    """`reopen` tries to open the stream at the node if it isn't yet, and says whether it is."""

    begun: Begun
    record: Record
    outbox: Outbox
    spool: Spool
    shipper: Shipper
    watcher: Watcher
    writes: Writes
    reopen: Callable[[], bool]
    capture: Capture
    walk: Walk
    hints: Hints
    marks: Marks


def assemble(
    begun: Begun,
    record: Record,
    outbox: Outbox,
    spool: Spool,
    shipper: Shipper,
    watcher: Watcher,
    writes: Writes,
    reopen: Callable[[], bool],
) -> Parts:
    """The parts of a session whose stream is open, or whose record may go on without the node."""
    settings = begun.settings
    places = Places(record, settings.scope)
    capture = Capture(settings.scope, record, outbox, watcher, settings.clock, places)
    capture.inodes.writes = writes
    capture.pending.bytes_a_second = lambda: settings.big_file_bytes_a_second
    capture.inodes.content.old = OldBlocks(settings.stream, settings.old_bytes)
    capture.inodes.content.traffic = shipper.traffic = settings.traffic
    walk = Walk(capture)
    capture.scan = walk.directories
    hints = Hints(watcher, writes, record, settings.site_clock, walk.watched_stems)
    marks = Marks(begun, record, outbox)
    return Parts(begun, record, outbox, spool, shipper, watcher, writes, reopen, capture, walk, hints, marks)
