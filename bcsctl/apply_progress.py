"""The live view of an apply: steps as lines, Ansible's tasks as one moving line, baselines as bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bcsctl.output import BAD, Bars, progress, say
from engine.model.counts import counted

if TYPE_CHECKING:
    from rich.progress import TaskID

    from engine.deploy.outcome import Progress
    from engine.reconcile.apply import OnProgress, SourceProgress


@contextmanager
def applying(as_json: bool) -> Iterator[OnProgress]:
    """What to hand to `engine.reconcile.apply.apply` as its listener."""
    with progress(as_json) as bars:
        yield View(bars, quiet=as_json).take


class View:
    """Draws what it is told of; without a terminal only the steps, failures and ends are said, as lines."""

    def __init__(self, bars: Bars, quiet: bool) -> None:
        self._bars = bars
        self._quiet = quiet
        self._sources: dict[str, TaskID] = {}
        self._hosts: dict[str, TaskID] = {}
        self._ended: set[str] = set()

    def take(self, event: object) -> None:
        """One event of `engine.reconcile.apply`."""
        from engine.deploy.outcome import Progress
        from engine.reconcile.apply import SourceProgress, Step

        if isinstance(event, Step):
            self._say(event.text)
        elif isinstance(event, Progress):
            self._host(event)
        elif isinstance(event, SourceProgress):
            self._source(event)

    def _host(self, event: Progress) -> None:
        if event.state in ("failed", "unreachable"):
            self._say(f"{event.host}: {event.task}: {event.state}", BAD)
        if event.host not in self._hosts:
            self._hosts[event.host] = self._bars.add_task(event.host, total=None)
        self._bars.update(self._hosts[event.host], description=f"{event.host}: {event.task}")

    def _source(self, event: SourceProgress) -> None:
        for host in self._hosts.values():
            self._bars.update(host, visible=False)
        if event.address not in self._sources:
            self._sources[event.address] = self._bars.add_task(event.address, total=None)
        self._bars.update(
            self._sources[event.address],
            description=f"{event.address}: {event.state}, {counted(event.files, 'file')}",
            completed=event.bytes,
            total=event.bytes_total,
        )
        if event.done and event.address not in self._ended:
            self._ended.add(event.address)
            self._say(f"{event.address}: {event.protected}")

    def _say(self, text: str, colour: str | None = None) -> None:
        if self._quiet:
            return
        if self._bars.disable:
            say(text, colour)
        else:
            self._bars.console.print(text, style=colour)
