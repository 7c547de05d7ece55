"""A session and the recoveries that stand where its source is: its record begun with the tree of its own, asked about
what is cold, and rid of them when all is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from engine.agent.capture.content import BLOCK_BYTES, CHUNK_BLOCKS, DIGEST_BYTES
from engine.agent.capture.inodes import open_file
from engine.agent.capture.look import Capture
from engine.agent.capture.places import Moved, Places
from engine.agent.kept.record import UNKNOWN_SIZE, Record, number_of
from engine.agent.kept.spool import Spool, SpoolDamaged
from engine.agent.log import INFO, log
from engine.agent.parts import Parts
from engine.agent.recovered.cold import ASK, Cold
from engine.agent.recovered.guests import Guests
from engine.agent.recovered.holes import Data, Opened, as_holes
from engine.agent.recovered.lookout import home_of
from engine.agent.recovered.seeding import RECOVERY, seed
from engine.agent.recovered.standing import Standing, standing
from engine.agent.settings import Settings
from engine.agent.ship.client import Head, Node, OutOfOrder
from engine.agent.ship.opening import claim
from engine.fill.base import LIVING, PRE_ACCESS
from engine.fill.kept import documents
from engine.fill.life.starting import FILLER, living
from engine.model.errors import BcsError, Refused
from engine.model.ids import parse_position
from engine.wire.batch import NO_HASH


def begin(settings: Settings, record: Record, spool: Spool, node: Node, sure: Callable[[], None]) -> str:
    """Begin the record anew with a tree that was brought back on demand, if there is one and the node goes on from it;
    why changes may have been missed then, "" if nothing was done. Unreachable when the node can't be asked. `sure`
    raises Held when what was looked at was not the tree."""
    mine = _own(settings)
    if mine is None or record.fact(RECOVERY) == mine.recipe.id or not mine.place.names.exists():
        return ""
    _send_what_is_left(settings, record, spool, node)
    head = node.open_stream(settings.stream, settings.host, settings.writer, claim(record))
    if not _is_the_beginning(head, mine):
        return ""
    seed(record, mine, head, settings.scope, settings.site_clock.now(), sure)
    spool.drop()
    log("goes on from a tree recovered on demand", settings.clock, level=INFO, recovery=mine.recipe.id)
    return f"brought back on demand as of point {mine.recipe.position}"


def stand(settings: Settings, record: Record) -> tuple[Cold | None, Guests | None]:
    """What capture has to ask before it reads a file."""
    found = standing(home_of(settings), settings.stream, settings.scope)
    cold, guests = None, []
    for each in found:
        if each.own and record.fact(RECOVERY) == each.recipe.id:
            cold = Cold(each, record)
        elif each.state.state in LIVING:
            guests.append(each)
    return cold, Guests(guests) if guests else None


def nothing_cold(capture: Capture) -> bool:
    """Whether reading any file of the source fills nothing."""
    return capture.inodes.cold is None and capture.guests is None


def fillers(capture: Capture) -> list[int]:
    """The pids of who fills the source's own tree now and nothing else: behind a mount of ours others' writes are
    theirs too, and on another device."""
    cold = capture.inodes.cold
    if cold is None or cold.standing.recipe.mechanism != PRE_ACCESS:
        return []
    pid = living(cold.standing.place, FILLER)
    return [] if pid is None else [pid]


def keep_house(parts: Parts) -> bool:
    """Take over what the map knows once everything is filled; forget guests that are whole. Whether with that the last
    recovery here is over."""
    capture = parts.capture
    if nothing_cold(capture):
        return False
    cold = capture.inodes.cold
    if cold is not None and not _lives(cold.standing):
        opened = _opener(parts.record, capture.places)
        parts.hints.dirty |= settle(cold, parts.record, parts.outbox.builder.lsn_next - 1, opened)
        cold.follow_mount()
        parts.record.commit()
        cold.standing.note_taken()
        cold.close()
        capture.inodes.cold = None
    if capture.guests is not None and not any(_lives(each) for each in capture.guests.standing):
        capture.guests.close()
        capture.guests = None
    return nothing_cold(capture)


def close(parts: Parts) -> None:
    """The session ends."""
    if parts.capture.inodes.cold is not None:
        parts.capture.inodes.cold.close()
    if parts.capture.guests is not None:
        parts.capture.guests.close()


def _own(settings: Settings) -> Standing | None:
    found = [each for each in standing(home_of(settings), settings.stream, settings.scope) if each.own]
    return found[-1] if found else None


def _is_the_beginning(head: Head, mine: Standing) -> bool:
    """Whether nothing has been written yet to the epoch that was opened for this recovery: behind its point are at most
    the names of that."""
    return head.recovery == mine.recipe.id and head.hash == NO_HASH


def _send_what_is_left(settings: Settings, record: Record, spool: Spool, node: Node) -> None:
    """What was captured of the tree that was lost, and spooled, goes on the branch that it belongs to."""
    sent = [each for each in record.sent() if each.place.segment >= 0]
    with suppress(OutOfOrder, Refused, SpoolDamaged):
        for each in sent:
            node.send(settings.stream, settings.host, [spool.read(each.place)])


def _lives(each: Standing) -> bool:
    try:
        return documents.read_state(each.place).state in LIVING
    except (BcsError, OSError):
        return False


def _opener(record: Record, places: Places) -> Opened:
    """Opens files where the record has them."""

    def opened(file_id: int) -> int:
        known = record.inode(file_id)
        if known is None:
            return -1
        for directory, name in record.places_of(file_id):
            try:
                folder = places.open(directory)
            except (Moved, OSError):
                continue
            try:
                fd = open_file(name, folder)
            except OSError:
                continue
            finally:
                os.close(folder)
            if number_of(os.fstat(fd)) == (known.dev, known.ino):
                return fd
            os.close(fd)
        return -1

    return opened


def settle(cold: Cold, record: Record, lsn_now: int, opened: Opened) -> set[tuple[int, bytes]]:
    """What the map knows goes into the record, holes as the file system has them. The names of files of which it does
    not know all: to be looked at."""
    unsure: set[tuple[int, bytes]] = set()
    lsn = parse_position(cold.standing.recipe.position).lsn
    for file_id in cold.ids():
        known, file = record.inode(file_id), cold.file(file_id)
        if known is None or file is None or known.size == UNKNOWN_SIZE:
            continue
        blocks = -(-known.size // BLOCK_BYTES)
        asked, data = False, Data(opened, file_id, known.size)
        for chunk in range(-(-blocks // CHUNK_BLOCKS)):
            row = record.blocks(file_id, chunk)
            digests = cold.known(file, chunk, min(CHUNK_BLOCKS, blocks - chunk * CHUNK_BLOCKS))
            asked |= any(digests[at : at + DIGEST_BYTES] == ASK for at in range(0, len(digests), DIGEST_BYTES))
            digests = as_holes(digests, chunk * CHUNK_BLOCKS * BLOCK_BYTES, known.size, data)
            if row != digests and (row is not None or digests.strip(b"\0")):  # a chunk without a row is a hole
                record.put_blocks(file_id, chunk, lsn if row is None else lsn_now, digests)
        if asked:
            unsure.update(record.places_of(file_id))
    return unsure
