"""A private tracing instance: made below tracefs, told which events and devices, read page by page, removed at the end.

Source: Documentation/trace/ftrace.rst and events.rst. tracefs is used where it is mounted, else mounted for this
process alone, without a place in the tree (fsopen(2)). Instances bear the pid of their owner: those of dead owners are
removed by whoever comes next. It gives no meaning to what it reads.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.agent.ranges.ring import PageShape, records
from engine.env import detached
from engine.env.clock import SYSTEM
from engine.env.randomness import token_hex
from engine.model.errors import Failed

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_OURS = re.compile(r"bcs-(\d+)-[0-9a-f]+")
_FIELD = re.compile(r"field:([^;]*?)(\w+)(?:\[\d+\])?;\s*offset:(\d+);\s*size:(\d+);\s*signed:(\d);")
_NUMBER = struct.Struct("=H").unpack_from
_LOST = re.compile(r"(?:overrun|dropped events): (\d+)")
BUFFER_BYTES = 16 << 20
"""For all processors together; each has at least PER_CPU_MIN_BYTES and at most PER_CPU_MAX_BYTES."""

BEGINNING_SECONDS = 60.0
PER_CPU_MIN_BYTES, PER_CPU_MAX_BYTES = 256 << 10, 4 << 20


class NoTracing(Failed):
    """The kernel's trace events can't be had here; the message says why."""

    code = "no-tracing"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field of a record is. `text` for arrays of characters."""

    at: int
    bytes: int
    signed: bool
    text: bool


@dataclass(frozen=True, slots=True)
class Format:
    """An event's records: the number that they begin with, and their fields."""

    number: int
    fields: dict[str, Field]

    @classmethod
    def parse(cls, text: str) -> Format:
        """From an event's `format` file. ValueError when it isn't one."""
        number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
        if number is None:
            raise ValueError("not an event's format: no ID")
        fields = {
            name: Field(int(at), int(size), signed == "1", kind.strip() == "char" and int(size) > 1)
            for kind, name, at, size, signed in _FIELD.findall(text.partition("print fmt:")[0])
        }
        return cls(int(number[1]), fields)


class Instance:
    """One tracing instance, made at once. Nothing is traced before `trace`. NoTracing when it can't be made."""

    def __init__(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._mount, self._root = _tracefs()
        self._path: Path | None = None
        self._pipes: list[int] = []
        self._stats: list[int] = []
        self._lost: list[int] = []
        self._pages_max = 0
        self._apart: dict[int, slice] = {}
        try:
            _remove_stale(self._root / "instances")
            path = self._root / "instances" / f"bcs-{os.getpid()}-{token_hex(4)}"
            path.mkdir()
            self._path = path
            self._shape = PageShape.parse((self._root / "events/header_page").read_text())
            self._open(path, buffer_bytes)
        except (OSError, ValueError) as error:
            self.close()
            raise NoTracing(f"{type(error).__name__}: {error}") from error

    def _open(self, path: Path, buffer_bytes: int) -> None:
        cpus = sorted((path / "per_cpu").iterdir())
        each = min(max(buffer_bytes // max(1, len(cpus)), min(PER_CPU_MIN_BYTES, buffer_bytes)), PER_CPU_MAX_BYTES)
        _write(path / "buffer_size_kb", str(max(1, each >> 10)))
        self._pages_max = 2 * each // self._shape.page_bytes + 16
        _write(path / "trace_clock", "mono")  # comparable between processors, and with time.monotonic
        for option in ("overwrite", "norecord-cmd"):
            with contextlib.suppress(OSError):  # a matter of cost
                _write(path / "trace_options", option)
        for cpu in cpus:
            self._pipes.append(os.open(cpu / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            self._stats.append(os.open(cpu / "stats", os.O_RDONLY | os.O_CLOEXEC))
            self._lost.append(0)
        _write(path / "tracing_on", "1")

    def format(self, event: str) -> Format | None:
        """The format of an event such as 'ext4/ext4_punch_hole'; None when this kernel has none of that name."""
        assert self._path is not None
        try:
            return Format.parse((self._path / "events" / event / "format").read_text())
        except FileNotFoundError:
            return None

    def trace(self, event: str, conditions: str) -> None:
        """Record an event where the filter holds, or go over to another filter, without missing any between.

        NoTracing when the kernel takes neither.
        """
        assert self._path is not None
        directory = self._path / "events" / event
        try:
            _write(directory / "filter", conditions)
            _write(directory / "enable", "1")
        except OSError as error:
            raise NoTracing(f"{event}, {conditions}: {os.strerror(error.errno or 0)}") from error

    def set_apart(self, number: int, part: slice) -> None:
        """Of an event's records only that part matters, and neither when nor how often it came."""
        self._apart[number] = part

    def take(self) -> tuple[list[tuple[int, bytes, int]], bool, set[tuple[int, bytes]]]:
        """([(timestamp, page, offset of the data), ...] of all processors in order of time, whether any were lost,
        {(number, part), ...} of the events that are set apart)."""
        found: list[tuple[int, bytes, int]] = []
        apart: set[tuple[int, bytes]] = set()
        lost = False
        for index, pipe in enumerate(self._pipes):
            had = False
            for _ in range(self._pages_max):  # whatever the writers do meanwhile
                try:
                    page = os.read(pipe, self._shape.page_bytes)
                except BlockingIOError:
                    break
                if not page:
                    break
                had = True
                entries, missed = records(page, self._shape)
                lost |= missed
                for time, at in entries:
                    number = _NUMBER(page, at)[0]
                    part = self._apart.get(number)
                    if part is None:
                        found.append((time, page, at))
                    else:
                        apart.add((number, page[at + part.start : at + part.stop]))
            if had:
                lost |= self._lost_more(index)
        found.sort(key=_time)
        return found, lost, apart

    def _lost_more(self, index: int) -> bool:
        """Whether the kernel counts more lost records than it did: those lost at a page's end show nowhere else."""
        counted = sum(map(int, _LOST.findall(os.pread(self._stats[index], 4096, 0).decode("ascii"))))
        more = counted != self._lost[index]
        self._lost[index] = counted
        return more

    def close(self) -> None:
        """Stop, and remove the instance. A second close is fine."""
        path, self._path = self._path, None
        if path is not None:
            with contextlib.suppress(OSError):
                _write(path / "tracing_on", "0")
                _write(path / "events/enable", "0")
        for fd in (*self._pipes, *self._stats):
            os.close(fd)
        self._pipes, self._stats = [], []
        if path is not None:
            with contextlib.suppress(OSError):  # someone else reads in it: removed by whoever comes next
                path.rmdir()
        if self._mount >= 0:
            os.close(self._mount)
            self._mount = -1


def _time(record: tuple[int, bytes, int]) -> int:
    return record[0]


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _tracefs() -> tuple[int, Path]:
    """(descriptor of a mount of our own or -1, tracefs). NoTracing when there is none."""
    for place in _PLACES:
        if os.access(f"{place}/instances", os.W_OK):
            return -1, Path(place)
    try:
        mount = _mounted_privately()
    except OSError as error:
        raise NoTracing(f"tracefs is not at {_PLACES[0]} and can't be mounted: {error.strerror}") from error
    return mount, Path(f"/proc/self/fd/{mount}")


def _mounted_privately() -> int:
    """A descriptor of a mount of tracefs that has no place in the tree and goes with the descriptor."""
    return detached.mount(b"tracefs", {})


def _remove_stale(instances: Path) -> None:
    """Remove the instances whose owners are dead, by their pid or since nobody reads there: who does keeps them busy.

    A pid may be one of another namespace; an owner that has only just begun does not read yet.
    """
    long_ago = SYSTEM.now() / 1e6 - BEGINNING_SECONDS
    for name in _names(instances):
        ours = _OURS.fullmatch(name)
        with contextlib.suppress(OSError):
            if ours and (not Path(f"/proc/{ours[1]}").exists() or (instances / name).stat().st_mtime < long_ago):
                (instances / name).rmdir()


def _names(directory: Path) -> Iterable[str]:
    return sorted(os.listdir(directory))
