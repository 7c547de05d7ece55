"""The bytes of a restore in place: a file is exchanged in one step, or written to where it differs.

Every byte is compared with its hash before it is written, those of a file before the first of them is. What does not
come in one batch is gathered in a file beside, so that a file that can't be had whole stays as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from blake3 import blake3

from engine.agent.restore.receive import Done, Node
from engine.model.errors import BcsError, Failed
from engine.tree.apply import Shortfall, create_file, finish, set_size, write_extent
from engine.tree.beneath import Beneath
from engine.tree.sparse import make_hole
from engine.wire.batch import HASH_BYTES, Batch
from engine.wire.errors import Malformed
from engine.wire.frames import open_frame
from engine.wire.turns import REWRITTEN, Turned

_IN_PLACE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_COPY_BYTES = 1 << 20

Parts = Sequence[tuple[int, memoryview]]
"""(offset, bytes) of what a batch holds of a file."""


class Exchanging:
    """Applies batches of files, in any number of parts each. `name` makes what lies beside a file known as ours."""

    def __init__(self, place: Beneath, name: str, turns: Mapping[int, Turned], done: Done, owners: bool) -> None:
        self._place, self._name, self._turns, self._done, self._owners = place, name, turns, done, owners
        self._gathered: dict[int, list[tuple[int, int]]] = {}
        """Of files whose ranges lie beside them those ranges: (offset, length)."""

    def apply(self, nodes: Iterable[Node], batch: Batch) -> None:
        """One batch. Malformed when it is not about the paths that the turns name."""
        opened = [open_frame(frame) for frame in batch.frames]
        for node in nodes:
            turn = self._turns.get(node.file_id)
            if turn is None or node.names[0] != turn.path:
                raise Malformed(f"file {node.file_id} of a restore in place has no turn")
            if node.file_id in self._done.failed:
                continue
            try:
                self._one(turn, node, opened)
            except (BcsError, OSError) as error:
                why = error.message if isinstance(error, BcsError) else os.strerror(error.errno or 0)
                self._done.failures.append((turn.path, why))
                self._done.failed.add(node.file_id)
                self._drop(turn)

    def close(self) -> None:
        """Take away what lies beside files that never came to their end."""
        for number in list(self._gathered):
            self._drop(self._turns[number])

    def _one(self, turn: Turned, node: Node, opened: Sequence[memoryview]) -> None:
        if node.damage:
            self._done.damaged = True
            raise Failed(node.damage)
        parts = [(extent.offset, opened[extent.frame][extent.skip : extent.skip + extent.length], extent.hash)
                 for extent in node.extents]  # fmt: skip
        for offset, part, hash in parts:
            if blake3(part).digest(HASH_BYTES) != hash:
                raise Failed(f"the {len(part)} bytes at {offset} do not match their hash")
        whole = node.attributes is not None
        if turn.part == REWRITTEN and whole and turn.number not in self._gathered:
            self._rewrite(turn, node, [(offset, part) for offset, part, _ in parts])
        else:
            self._gather(turn, [(offset, part) for offset, part, _ in parts])
            if whole:
                self._complete(turn, node)
        if whole:
            self._done.files += 1
            self._done.names += 1
        self._done.bytes_written += sum(len(part) for _, part, _ in parts)

    def _gather(self, turn: Turned, parts: Parts) -> None:
        known = self._gathered.get(turn.number)
        beside = self._beside(turn)
        if known is None:
            with suppress(FileNotFoundError):
                os.unlink(beside)  # of a run that was killed
            fd = create_file(beside)
            known = self._gathered[turn.number] = []
        else:
            fd = os.open(beside, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for offset, part in parts:
                write_extent(fd, offset, part)
                known.append((offset, len(part)))
        finally:
            os.close(fd)

    def _complete(self, turn: Turned, node: Node) -> None:
        beside = self._beside(turn)
        if turn.part == REWRITTEN:
            fd = os.open(beside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._rewrite(turn, node, ((offset, part) for run in self._gathered[turn.number]
                                           for offset, part in _read(fd, *run)))  # fmt: skip
            finally:
                os.close(fd)
            self._drop(turn)
            return
        assert node.attributes is not None
        fd = os.open(beside, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            set_size(fd, node.attributes.size)
            missing = finish(beside, node.attributes, self._owners, fd)
        finally:
            os.close(fd)
        os.rename(beside, self._place.held(turn.path))
        del self._gathered[turn.number]
        self._done.shortfalls += [str(Shortfall(turn.path, one.what, one.errno)) for one in missing]

    def _rewrite(self, turn: Turned, node: Node, parts: Iterable[tuple[int, memoryview]]) -> None:
        assert node.attributes is not None
        fd = os.open(self._place.held(turn.path), _IN_PLACE)
        try:
            for begin, end in turn.holes:
                make_hole(fd, begin, end - begin)
            for offset, part in parts:
                write_extent(fd, offset, part)
            set_size(fd, node.attributes.size)
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def _beside(self, turn: Turned) -> bytes:
        held = self._place.held(turn.path)
        return os.path.join(os.path.dirname(held), b".bcs-%b-%d" % (os.fsencode(self._name), turn.number))

    def _drop(self, turn: Turned) -> None:
        if self._gathered.pop(turn.number, None) is not None:
            with suppress(OSError):
                os.unlink(self._beside(turn))


def _read(fd: int, offset: int, length: int) -> Iterable[tuple[int, memoryview]]:
    end = offset + length
    while offset < end:
        part = os.pread(fd, min(_COPY_BYTES, end - offset), offset)
        if not part:
            raise Failed(f"what was gathered of a file ends at byte {offset}")
        yield offset, memoryview(part)
        offset += len(part)
