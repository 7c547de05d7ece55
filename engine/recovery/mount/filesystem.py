"""The mount: directories of groups, hosts, sources and times, and below each time the tree as it was then.

What stands above the times may change, so the kernel believes it for a second; a tree never changes. The journal is
read as it is on disk: a node that stops or starts changes nothing here.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.env.clock import SYSTEM, Clock
from engine.fuse import protocol as fuse
from engine.fuse.turns import Turn
from engine.journal.data import DataReader
from engine.journal.open import Journal
from engine.model.events import ROOT_ID
from engine.model.ids import Address, Position
from engine.model.points import Point
from engine.model.times import SECOND, format_time
from engine.query.applied import paths_of
from engine.query.session import Session
from engine.query.streams import StreamInfo, by_name
from engine.recovery.mount import times
from engine.recovery.mount.listing import FOR_EVER, Listing, listing
from engine.recovery.mount.numbers import VIEWS_MAX, node_of, parts_of
from engine.recovery.mount.rows import Row
from engine.recovery.mount.times import LATEST, OpenGap
from engine.recovery.mount.view import View

BELIEVED_SECONDS = 1
VIEWS_KEPT = 8
NAMES_KEPT = 4_000_000
"""Views that are held at once: so many, and of so many names together (about a hundred bytes each)."""

FRAMES_BYTES = 192 << 20
"""Frames that are kept open: small files that are read one here, one there, share them by the hundred."""

_OWN = "_"
"""Groups of our own, such as the audit's, begin with it: they hold records and no files."""

_DIRECTORY, _LINK = 0o40555, 0o120777


@dataclass(slots=True)
class _Above:
    """A directory above the times: `path` are the names that lead to it."""

    node: int
    path: tuple[bytes, ...]
    source: Address | None = None


@dataclass(slots=True)
class _Opened:
    """A view that may have to be made again: what it shows."""

    stream: StreamInfo
    point: Point
    view: View | None = None
    making: threading.Lock = field(default_factory=threading.Lock)


class MomentFilesystem:
    """See engine.fuse.serving.Filesystem. With `only` the root is that source's directory."""

    def __init__(
        self,
        journal: Journal,
        session: Session,
        only: Address | None = None,
        open_gap: OpenGap = lambda address: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._journal, self._session, self._open_gap, self._clock = journal, session, open_gap, clock
        self.turn = Turn()
        self._reader = DataReader(journal, cache_bytes=FRAMES_BYTES, before_opening=self.turn.pass_on)
        self._lock = threading.RLock()
        self._refreshed = 0
        self._sources: dict[Address, StreamInfo] = {}
        self._above: dict[int, _Above] = {fuse.ROOT: _Above(fuse.ROOT, (), only)}
        self._numbers: dict[tuple[bytes, ...], int] = {(): fuse.ROOT}
        self._mounted_ns = clock.now() * 1000
        self._views: list[_Opened] = []
        self._view_numbers: dict[tuple[str, Position], int] = {}
        self._used: OrderedDict[int, None] = OrderedDict()

    # engine.fuse.serving.Filesystem

    def lookup(self, parent: int, name: bytes) -> bytes:
        view, file_id = parts_of(parent)
        if view:
            return self._view(view).lookup(file_id, name)
        self.turn.pass_on()
        above = self._directory(parent)
        if name in (b".", b".."):
            node = parent if name == b"." else self._numbers[above.path[:-1]]
            return self._entry(self._attributes_above(node))
        if above.source is None:
            return self._entry(self._attributes_above(self._child(above, name).node))
        return self._time(above, above.source, name)

    def attributes(self, node: int) -> bytes:
        view, file_id = parts_of(node)
        if view:
            return fuse.attributes_out(self._view(view).attributes(file_id).packed(), FOR_EVER)
        return fuse.attributes_out(self._attributes_above(node).packed(), BELIEVED_SECONDS)

    def readlink(self, node: int) -> bytes:
        view, file_id = parts_of(node)
        if view:
            return self._view(view).target(file_id)
        self.turn.pass_on()
        above = self._above.get(node)
        if above is None or above.source is None or above.path[-1:] != (LATEST,):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        stream = self._source(above.source)
        point = times.point_at(self._session, stream.id, LATEST, self._clock.now(), None)
        if point is None:
            raise _none()
        return format_time(point.at).encode()

    def listing(self, node: int, offset: int, size: int, plus: bool) -> bytes:
        view, file_id = parts_of(node)
        found = self._view(view).listing(file_id) if view else self._listing_above(self._directory(node))
        return found.part(offset, size, plus)

    def cacheable(self, node: int) -> bool:
        return bool(parts_of(node)[0])

    def read(self, node: int, offset: int, size: int) -> list[memoryview]:
        view, file_id = parts_of(node)
        if not view:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return self._view(view).read(file_id, offset, size)

    def seek(self, node: int, offset: int, whence: int) -> int:
        view, file_id = parts_of(node)
        if not view:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._view(view).seek(file_id, offset, whence)

    def xattr(self, node: int, name: bytes) -> bytes:
        found = self._xattrs(node).get(name)
        if found is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return found

    def xattr_names(self, node: int) -> bytes:
        return b"".join(name + b"\0" for name in self._xattrs(node))

    def blocks(self) -> tuple[int, int]:
        return 1, 1

    # Above the times.

    def _refresh(self) -> None:
        """See what was committed since, at most once a second."""
        with self._lock:
            now = self._clock.now()
            if now - self._refreshed < BELIEVED_SECONDS * SECOND and self._sources:
                return
            self._session.refresh()
            found = by_name(self._journal)
            self._sources = {address: stream for address, stream in found.items() if address.group[0] != _OWN}
            self._refreshed = now

    def _source(self, address: Address) -> StreamInfo:
        self._refresh()
        found = self._sources.get(address)
        if found is None:
            raise _none()
        return found

    def _directory(self, node: int) -> _Above:
        with self._lock:
            found = self._above.get(node)
        if found is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return found

    def _number(self, path: tuple[bytes, ...], source: Address | None) -> _Above:
        with self._lock:
            node = self._numbers.setdefault(path, len(self._numbers) + 1)
            return self._above.setdefault(node, _Above(node, path, source))

    def _names_below(self, path: tuple[bytes, ...]) -> Iterator[tuple[bytes, Address | None]]:
        """(name, the source that it is) of what is below groups and hosts."""
        self._refresh()
        seen = set()
        for address in self._sources:
            parts = tuple(part.encode() for part in (address.group, address.host, address.source))
            if parts[: len(path)] == path and parts[len(path)] not in seen:
                seen.add(parts[len(path)])
                yield parts[len(path)], address if len(path) == 2 else None

    def _child(self, above: _Above, name: bytes) -> _Above:
        for known, source in self._names_below(above.path):
            if known == name:
                return self._number((*above.path, name), source)
        raise _none()

    def _attributes_above(self, node: int) -> fuse.Attributes:
        above = self._directory(node)
        link = above.source is not None and above.path[-1:] == (LATEST,)
        return fuse.Attributes(node, _LINK if link else _DIRECTORY, 0, self._mounted_ns, links=1 if link else 2)

    def _entry(self, attributes: fuse.Attributes) -> bytes:
        return fuse.entry(attributes.node, attributes.packed(), BELIEVED_SECONDS, BELIEVED_SECONDS)

    def _listing_above(self, above: _Above) -> Listing:
        self.turn.pass_on()
        up = self._numbers[above.path[:-1]] if above.path else fuse.ROOT
        if above.source is None:
            below = [self._number((*above.path, name), source) for name, source in self._names_below(above.path)]
            shown = [_row(each.path[-1], self._attributes_above(each.node)) for each in below]
            return listing(above.node, up, shown, BELIEVED_SECONDS)
        stream, now = self._source(above.source), self._clock.now()
        gap = self._open_gap(above.source)
        names = times.names_of(self._session, stream.id, now, gap)
        shown = [_row(LATEST, self._attributes_above(self._number((*above.path, LATEST), above.source).node))]
        for name in names:
            point = times.point_at(self._session, stream.id, name, now, gap)
            if point is not None:
                # Of its tree no more is needed than its number: nothing is read for a listing.
                node = node_of(self._opened(stream, point), ROOT_ID)
                shown.append(_row(name, fuse.Attributes(node, _DIRECTORY, links=2)))
        return listing(above.node, up, shown, 0)

    # The times.

    def _time(self, above: _Above, address: Address, name: bytes) -> bytes:
        stream, now = self._source(address), self._clock.now()
        if name == LATEST:
            return self._entry(self._attributes_above(self._number((*above.path, LATEST), address).node))
        gap = self._open_gap(address)
        point = times.point_at(self._session, stream.id, name, now, gap)
        if point is None:
            raise _none()
        number = self._opened(stream, point)
        view = self._view(number)
        newest = times.point_at(self._session, stream.id, LATEST, now, None)
        seconds = FOR_EVER if times.lasts(name, point, newest) else BELIEVED_SECONDS
        return fuse.entry(node_of(number, ROOT_ID), view.attributes(ROOT_ID).packed(), seconds, FOR_EVER)

    def _opened(self, stream: StreamInfo, point: Point) -> int:
        """The number of the view of a stream at a point, for as long as the mount lasts."""
        with self._lock:
            key = (stream.id, point.position)
            if key not in self._view_numbers:
                if len(self._views) + 1 >= VIEWS_MAX:
                    raise OSError(errno.EMFILE, "too many moments: mount anew")
                self._views.append(_Opened(stream, point))
                self._view_numbers[key] = len(self._views)
            return self._view_numbers[key]

    def _view(self, number: int) -> View:
        with self._lock:
            if not 0 < number <= len(self._views):
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            opened = self._views[number - 1]
            self._used[number] = None
            self._used.move_to_end(number)
        view = opened.view
        return view if view is not None else self._made(opened, number)

    def _made(self, opened: _Opened, number: int) -> View:
        self.turn.pass_on()
        with opened.making:
            view = opened.view
            if view is None:
                stream, position = opened.stream.id, opened.point.position
                paths = list(paths_of(self._journal, stream, opened.point.at))
                view = View(self._session, self._reader, stream, position, number, paths, self.turn)
                opened.view = view
                self._let_go()
        return view

    def _let_go(self) -> None:
        """Forget the trees that were used longest ago, when they are many or large."""
        with self._lock:
            names = 0
            for kept, number in enumerate(reversed(list(self._used))):
                view = self._views[number - 1].view
                names += len(view) if view is not None else 0
                if kept and (kept >= VIEWS_KEPT or names > NAMES_KEPT):
                    self._views[number - 1].view = None
                    del self._used[number]

    def _xattrs(self, node: int) -> dict[bytes, bytes]:
        view, file_id = parts_of(node)
        return self._view(view).xattrs(file_id) if view else {}


def _row(name: bytes, shown: fuse.Attributes) -> tuple[Row, int]:
    """A line of a listing above the times."""
    about = (shown.mode, shown.uid, shown.gid, shown.size, shown.mtime_ns, shown.rdev, shown.links, 0)
    return Row(name, 0, *about), shown.node


def _none() -> OSError:
    return OSError(errno.ENOENT, os.strerror(errno.ENOENT))
