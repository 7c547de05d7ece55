"""The file systems that are traced in one instance: which events, by which filters, and how their records are read.

It gives no meaning to a record; what it hands out is read by `tracepoints`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from engine.agent.ranges import kinds
from engine.agent.ranges.devices import Device, device_of
from engine.agent.ranges.strangers import Strangers
from engine.agent.ranges.tracefs import Format, Instance, NoTracing

UNTRACED = "Not all of this source has trace events: big files there are read whole after a change, or as clones tell."
NOBODY = 0
"""Instead of a thread's id where nobody asks who touched a page."""

Meaning = Callable[[int, Any], None]
"""Takes the time of a record (ns) and (thread id, *the kind's fields)."""


class Traced:
    """`devices` by st_dev, None for one that can't be traced; `readers` by the number that an event's records begin
    with, each with whether a fill's are of no matter; `faults_shown` the devices on which a store through a mapping has
    an event of its own."""

    def __init__(self, instance: Instance, meanings: Mapping[str, Meaning]) -> None:
        self.instance = instance
        self.untraced = ""
        self.devices: dict[int, Device | None] = {}
        self.by_kernel: dict[int, Device] = {}
        self.by_backing: dict[bytes, list[Device]] = {}
        self.filters: dict[str, tuple[kinds.Kind, list[Device]]] = {}
        self.readers: dict[int, tuple[Meaning, Callable[[bytes, int], tuple[Any, ...]], bool]] = {}
        self.faults_shown: set[int] = set()
        self.strangers = Strangers()
        self._meanings = meanings
        self._touching: dict[int, tuple[Format, Callable[[bytes], tuple[Any, ...]]]] = {}
        self._who_touches = False

    def add(self, dev: int, fd: int) -> bool:
        """Trace what is written on a file system, if that can be had."""
        device = device_of(dev, fd)
        self.devices[dev] = None
        if device is None or device.kind not in kinds.KINDS:
            self.untraced = UNTRACED
            return False
        try:
            self._trace(device)
        except NoTracing as error:
            self.untraced = f"{UNTRACED} ({error.message})"
            return False
        self.devices[dev] = self.by_kernel[device.kernel] = device
        self.by_backing.setdefault(device.backing.encode("ascii").ljust(32, b"\0")[:32], []).append(device)
        return True

    def touches(self, apart: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, int, int]]:
        """(thread id or NOBODY, ino, device) of each touch of a mapping that the instance has set apart."""
        for event, part in apart:
            found = self._touching[event][1](part)
            yield found if self._who_touches else (NOBODY, *found)

    def tell_who_touches(self, wanted: bool) -> None:
        """Have touches told with their threads from the next take on: there are many more of them then."""
        if wanted == self._who_touches:
            return
        self._who_touches = wanted
        for format, _ in list(self._touching.values()):
            self._set_apart(format)

    def filter_touches(self) -> None:
        """The strangers that are left out are others now."""
        for event, (kind, devices) in self.filters.items():
            if kind.meaning == kinds.TOUCHED:
                self.instance.trace(event, self._conditions(kind, devices))

    def _trace(self, device: Device) -> None:
        wanted: list[tuple[kinds.Kind, str]] = []
        for kind in kinds.KINDS[device.kind]:
            event = self._event(kind)
            if event:
                wanted.append((kind, event))
            elif kind.needed:
                raise NoTracing(f"this kernel has no {kind.events[0]}, which {device.kind} takes")
            if kind.meaning == kinds.FAULTED and event:
                self.faults_shown.add(device.dev)
        for kind, event in wanted:
            devices = [*self.filters.get(event, (kind, []))[1], device]
            self.instance.trace(event, self._conditions(kind, devices))
            self.filters[event] = (kind, devices)

    def _conditions(self, kind: kinds.Kind, devices: list[Device]) -> str:
        """The filter of an event: these devices, and what else the kind asks for."""
        if kind.meaning == kinds.DIRTIED:
            found = " || ".join(sorted({f'name == "{each.backing}"' for each in devices}))
        else:
            field = "s_dev" if kind.meaning == kinds.TOUCHED else "dev"
            found = " || ".join(f"{field} == {each.kernel}" for each in devices)
        only = f" && {kind.only}" if kind.only else ""
        return f"({found}){self.strangers.conditions() if kind.meaning == kinds.TOUCHED else only}"

    def _event(self, kind: kinds.Kind) -> str:
        """The event of this kernel that serves; '' when none does. Its records are read from now on."""
        for event in kind.events:
            format = self.instance.format(event)
            if kind.meaning == kinds.TOUCHED:
                if format and self._set_apart(format):
                    return event
                continue
            code = kinds.unpacking(format, kind.fields) if format else None
            if format and code:
                unpack, of_fills = struct.Struct(code).unpack_from, kind.meaning in kinds.OF_FILLS
                self.readers[format.number] = (self._meanings[kind.meaning], unpack, of_fills)
                return event
        return ""

    def _set_apart(self, format: Format) -> bool:
        """Have touches read as they are wanted; False for an event that has other fields."""
        found = kinds.apart(format, (*((kinds.WHO,) if self._who_touches else ()), *kinds.TOUCHED_FIELDS))
        if found is None:
            return False
        self.instance.set_apart(format.number, found[0])
        self._touching[format.number] = (format, struct.Struct(found[1]).unpack)
        return True
