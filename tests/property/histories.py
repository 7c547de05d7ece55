"""Strategies for histories: any sequence of events that an agent may write, and stranger ones.

A history is a list of (epoch, event) and the epochs; later epochs continue earlier ones from
any position, so there are branches. Some files are named again after they had no name left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from engine.model.events import (
    BASELINE,
    BOOKMARK,
    DIRECTORY,
    FILE,
    GAP,
    PASS,
    ROOT_ID,
    DataRef,
    Dentry,
    Event,
    Extent,
    Inode,
    Mark,
    Record,
    is_point,
)
from engine.model.ids import Position
from engine.model.lineage import Epoch, Lineage, counts, lineage, until

NAMES = (b"a", b"b", b"\xff\n", b"it's", "ü".encode())
SIZE_MAX = 40


@dataclass(frozen=True, slots=True)
class History:
    """Events by epoch, in the order in which they were written."""

    epochs: dict[int, Epoch]
    events: tuple[tuple[int, Event], ...]

    def line(self, position: Position) -> Lineage:
        return until(lineage(self.epochs, position.epoch), position)

    def at(self, position: Position) -> list[Event]:
        """The events that count at a position."""
        line = self.line(position)
        return [event for epoch, event in self.events if counts(line, epoch, event)]

    def points(self) -> list[Position]:
        """Every recovery point, of branches too, after the baseline of its lineage."""
        found = [Position(epoch, event.lsn) for epoch, event in self.events if is_point(event)]
        return [point for point in found if any(_is_baseline(event) for event in self.at(point))]


def _is_baseline(event: Event) -> bool:
    return isinstance(event, Mark) and event.kind == BASELINE


@dataclass(slots=True)
class _Writer:
    """One epoch being written: what the strategy has to know to write sensible events."""

    lsn: int
    at: int
    events: list[Event]
    files: list[int]
    directories: list[int]

    def next(self) -> tuple[int, int]:
        self.lsn += 1
        self.at += 1
        return self.lsn, self.at


def _inode(draw: st.DrawFn, writer: _Writer, file_id: int | None, type: str) -> None:
    lsn, at = writer.next()
    new = lsn if file_id is None else file_id
    size = draw(st.integers(0, SIZE_MAX)) if type == FILE else 0
    xattrs = draw(st.sampled_from([b"", b"\x00\x01"]))
    writer.events.append(
        Inode(lsn, at, new, type, draw(st.sampled_from([0o644, 0o600])), 1, 2, size, at, 0, b"", xattrs)
    )
    if file_id is None:
        (writer.directories if type == DIRECTORY else writer.files).append(new)


def _link(draw: st.DrawFn, writer: _Writer) -> None:
    lsn, at = writer.next()
    target = draw(st.sampled_from([None, *writer.files[-6:], *writer.directories[-3:]]))
    writer.events.append(
        Dentry(lsn, at, draw(st.sampled_from(writer.directories[-4:])), draw(st.sampled_from(NAMES)), target)
    )


def _revive(draw: st.DrawFn, writer: _Writer) -> None:
    """Unlink names until most files have none, end the pass, and give one of them a name again."""
    gone = {(event.parent, event.name) for event in writer.events if isinstance(event, Dentry)}
    for parent, name in sorted(gone)[: draw(st.integers(0, 8))]:
        writer.events.append(Dentry(*writer.next(), parent, name, None))
    writer.events.append(Mark(*writer.next(), PASS, "", "fuzzy"))
    if writer.files:
        lsn, at = writer.next()
        writer.events.append(
            Dentry(lsn, at, ROOT_ID, draw(st.sampled_from(NAMES)), draw(st.sampled_from(writer.files)))
        )
        writer.events.append(Mark(*writer.next(), PASS, "", "quiet"))


def _unlink(draw: st.DrawFn, writer: _Writer) -> None:
    lsn, at = writer.next()
    writer.events.append(
        Dentry(lsn, at, draw(st.sampled_from(writer.directories[-4:])), draw(st.sampled_from(NAMES)), None)
    )


def _extent(draw: st.DrawFn, writer: _Writer) -> None:
    if not writer.files:
        return
    lsn, at = writer.next()
    offset = draw(st.integers(0, SIZE_MAX - 1))
    length = draw(st.integers(1, SIZE_MAX - offset))
    data = DataRef("packs/n1.00000001/000000000001", lsn * 8, 40, lsn % 5) if draw(st.integers(0, 3)) else None
    digest = lsn.to_bytes(16, "big") if data else b""
    writer.events.append(Extent(lsn, at, draw(st.sampled_from(writer.files[-4:])), offset, length, data, digest))


def _truncate(draw: st.DrawFn, writer: _Writer) -> None:
    """Cut a file, put a hole over what was cut off, and let it be bigger again perhaps."""
    if not writer.files:
        return
    file_id = draw(st.sampled_from(writer.files[-4:]))
    size = draw(st.integers(0, SIZE_MAX - 1))
    lsn, at = writer.next()
    writer.events.append(Extent(lsn, at, file_id, size, SIZE_MAX - size, None))
    lsn, at = writer.next()
    writer.events.append(Inode(lsn, at, file_id, FILE, 0o644, 1, 2, size, at))


def _create(draw: st.DrawFn, writer: _Writer) -> None:
    """A new file with a name and some bytes, as an agent writes it."""
    _inode(draw, writer, None, FILE)
    lsn, at = writer.next()
    parent = draw(st.sampled_from(writer.directories[-4:]))
    writer.events.append(Dentry(lsn, at, parent, draw(st.sampled_from(NAMES)), writer.files[-1]))
    for _ in range(draw(st.integers(0, 2))):
        _extent(draw, writer)


def _make_directory(draw: st.DrawFn, writer: _Writer) -> None:
    parent = draw(st.sampled_from(writer.directories[-4:]))
    _inode(draw, writer, None, DIRECTORY)
    lsn, at = writer.next()
    writer.events.append(Dentry(lsn, at, parent, draw(st.sampled_from(NAMES)), writer.directories[-1]))


def _mark(draw: st.DrawFn, writer: _Writer) -> None:
    lsn, at = writer.next()
    kind = draw(st.sampled_from([PASS, PASS, PASS, BASELINE, BOOKMARK, GAP]))
    point_class = draw(st.sampled_from(["quiet", "fuzzy"])) if kind in (PASS, BASELINE) else ""
    label = draw(st.sampled_from(["one", "two"])) if kind == BOOKMARK else ""
    writer.events.append(Mark(lsn, at, kind, label, point_class, at - 1 if kind == GAP else 0))


def _again(draw: st.DrawFn, writer: _Writer) -> None:
    known = [(one, FILE) for one in writer.files[-4:]] + [(one, DIRECTORY) for one in writer.directories]
    file_id, type = draw(st.sampled_from(known))
    _inode(draw, writer, file_id, type)


def _record(draw: st.DrawFn, writer: _Writer) -> None:
    lsn, at = writer.next()
    writer.events.append(Record(lsn, at, "unreadable", '{"path": "x"}'))


_STEPS = {
    "create": _create,
    "make a directory": _make_directory,
    "describe again": _again,
    "describe unnamed": lambda draw, writer: _inode(draw, writer, None, draw(st.sampled_from([FILE, DIRECTORY]))),
    "link": _link,
    "unlink": _unlink,
    "revive": _revive,
    "extent": _extent,
    "truncate": _truncate,
    "mark": _mark,
    "record": _record,
}
_OFTEN = ["create", "create", "create", "make a directory", "extent", "extent", "extent", "link", "mark"]


@st.composite
def histories(draw: st.DrawFn, epochs_max: int = 3, steps_max: int = 40) -> History:
    """One to three epochs; each later one continues any earlier position."""
    epochs: dict[int, Epoch] = {}
    events: list[tuple[int, Event]] = []
    for number in range(1, draw(st.integers(1, epochs_max)) + 1):
        parent = draw(st.sampled_from([Position(epoch, event.lsn) for epoch, event in events])) if events else None
        epochs[number] = Epoch(number, parent, "first" if parent is None else "another writer", f"w{number}", number)
        before = History(epochs, tuple(events)).at(parent) if parent else []
        writer = _writer(parent, before)
        if parent is None:
            writer.events.append(Inode(*writer.next(), ROOT_ID, DIRECTORY, 0o755, 0, 0, 0, 1))
            _create(draw, writer)
            writer.events.append(Mark(*writer.next(), BASELINE, "", "quiet"))
        for step in draw(st.lists(st.sampled_from([*_OFTEN, *_STEPS]), min_size=5, max_size=steps_max)):
            _STEPS[step](draw, writer)
        writer.events.append(Mark(*writer.next(), PASS, "", "quiet"))
        events += [(number, event) for event in writer.events]
    return History(epochs, tuple(events))


def _writer(parent: Position | None, before: Sequence[Event]) -> _Writer:
    described = {event.file_id: event.type for event in before if isinstance(event, Inode)}
    files = [file_id for file_id, type in described.items() if type == FILE]
    directories = [file_id for file_id, type in described.items() if type == DIRECTORY and file_id != ROOT_ID]
    lsn = parent.lsn if parent else 0
    return _Writer(lsn, lsn * 10, [], files, [ROOT_ID, *directories])
