"""One source's life: opening, then baseline or catching up, then protected; and what every failure leads to.

A thread a source. Whatever goes wrong ends the session; the next one starts from the record, looks at everything and
closes the gap with a mark that says why. The application is never held up.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.agent import opening
from engine.agent.client import Head, Node
from engine.agent.clock import SiteClock
from engine.agent.live import Live, Marked, Resync, Stopped
from engine.agent.outbox import Outbox, SpoolFull
from engine.agent.record import NOWHERE, Record
from engine.agent.ship import Parcel, Shipper
from engine.agent.spool import Spool, SpoolDamaged
from engine.agent.watch.base import WatchRefused
from engine.agent.watch.choose import open_watcher
from engine.drivers.files import Scope
from engine.env import durable
from engine.env.clock import Clock
from engine.model.errors import BcsError

RETRY_SECONDS = 2.0
RESYNC_SECONDS = 0.1
OPEN_SECONDS = 1.0
STOP_SECONDS = 5.0

WAS_DOWN, WAS_KILLED = "agent was down", "agent was killed"


@dataclass(slots=True)
class Settings:
    """What a source's thread is given. `connect` makes a client for one thread."""

    stream: str
    host: str
    writer: str
    directory: Path
    scope: Scope
    connect: Callable[[], Node]
    clock: Clock
    site_clock: SiteClock
    spool_limit_bytes: int = 10 << 30
    scan_interval_seconds: float = 60.0
    watch: str | None = None


@dataclass(slots=True)
class View:
    """What others may read at any time. Times are site time, 0 for none."""

    state: str = "opening"
    mechanism: str = ""
    costs: str = ""
    through_at: int = 0
    last_change_at: int = 0
    gap_from: int = 0
    pending: int = 0
    unreadable: int = 0
    unreadable_paths: list[dict[str, str]] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    baseline_done: bool = False
    message: str = ""
    marks_done: list[str] = field(default_factory=list)


class Source:
    """A protected source. `start`, `ask_mark` and `stop` come from another thread."""

    def __init__(self, settings: Settings, reason: str = "") -> None:
        """`reason` says why the source begins again, where the record can't know."""
        self.settings = settings
        self.view = View()
        self._stopping = threading.Event()
        self._asked: list[Marked] = []
        self._weaker_than: str | None = None
        self._spool_lost = False
        self._reason = reason
        self._thread = threading.Thread(target=self._run, name=f"source {settings.stream}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_mark(self, id: str, label: str) -> None:
        """Take a pass and put a bookmark on it; its id shows in `view.marks_done` once the node has it."""
        if id not in self.view.marks_done and all(asked.id != id for asked in self._asked):
            self._asked.append(Marked(id, label))

    def forget_marks(self, ids: Iterable[str]) -> None:
        """The node has heard of these marks."""
        for id in ids:
            if id in self.view.marks_done:
                self.view.marks_done.remove(id)

    def stop(self) -> None:
        """End in good order: what was captured is shipped if the node takes it within seconds."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def report(self) -> dict[str, Any]:
        """The source's row in the agent's status report."""
        v = self.view
        return {
            "stream": self.settings.stream,
            "state": v.state,
            "mechanism": v.mechanism,
            "costs": v.costs,
            "through_at": v.through_at or None,
            "last_change_at": v.last_change_at or None,
            "pending": v.pending,
            "gap_from": v.gap_from or None,
            "unreadable": v.unreadable,
            "unreadable_paths": v.unreadable_paths,
            "baseline": {"files": v.files, "bytes": v.bytes, "done": v.baseline_done},
            "message": v.message,
        }

    def _run(self) -> None:
        durable.make_directories(self.settings.directory)
        executor = ThreadPoolExecutor(1, f"compress {self.settings.stream}")
        try:
            while not self._stopping.is_set():
                self._session_or_wait(executor)
        finally:
            executor.shutdown(wait=False)

    def _session_or_wait(self, executor: ThreadPoolExecutor) -> None:
        view = self.view
        try:
            _Session(self, executor).run()
        except Stopped:
            return
        except Resync as asked:
            self._reason = asked.reason
            self._stopping.wait(RESYNC_SECONDS)
            return
        except WatchRefused as error:
            self._weaker_than = error.details.get("mechanism", view.mechanism)
            self._reason, view.message = "the watch mechanism was exchanged", error.message
            return
        except SpoolDamaged as error:
            self._spool_lost, self._reason, view.message = True, "the spool was damaged", error.message
            return
        except SpoolFull as error:
            view.state, view.message, self._reason = "failed", error.message, "the spool was full"
        except sqlite3.DatabaseError as error:
            view.state, view.message = "failed", f"the record can't be used: {error}"
            if not isinstance(error, sqlite3.OperationalError):
                self._set_record_aside()
        except (BcsError, OSError) as error:
            view.state, view.message = "failed", f"{type(error).__name__}: {error}"
        self._stopping.wait(RETRY_SECONDS)

    def _set_record_aside(self) -> None:
        """A record that SQLite calls damaged is kept for those who want to know why; a new one begins."""
        path = self.settings.directory / "record.sqlite"
        for suffix in ("-wal", "-shm", ""):
            old = path.with_name(path.name + suffix)
            if old.exists():
                old.rename(path.with_name(f"damaged-{path.name}{suffix}"))


class _Session:
    """From opening the record to the next failure. Everything it opens, it closes."""

    def __init__(self, source: Source, executor: ThreadPoolExecutor) -> None:
        self._source, self._settings, self._view = source, source.settings, source.view
        self._executor = executor
        self._opened = False
        self._node = source.settings.connect()

    def run(self) -> None:
        settings = self._settings
        self._record = Record(settings.directory / "record.sqlite")
        try:
            if self._source._spool_lost:
                self._record.lose_spooled()
                self._record.commit()
                self._source._spool_lost = False
            sent = self._record.sent()
            places = [each.place for each in sent if each.place.segment >= 0]
            self._spool = Spool(
                settings.directory / "spool", places[-1] if places else NOWHERE, places[0] if places else NOWHERE
            )
            self._shipper = Shipper(settings.connect, settings.stream, settings.host, self._spool)
            try:
                self._with_shipper()
            finally:
                self._shipper.stop()
                self._spool.close()
        finally:
            self._record.close()
            self._node.close()

    def _with_shipper(self) -> None:
        settings, view, record = self._settings, self._view, self._record
        view.state = "opening"
        # Without the node only a record that needs nothing from it may go on: one whose batches are all in the spool.
        must = not record.fact("epoch") or any(each.place.segment < 0 for each in record.sent())
        self._open_at_node(must=must)
        outbox = Outbox(settings.stream, record, self._spool, self._shipper, settings.site_clock, self._executor)
        outbox.spool_limit_bytes = settings.spool_limit_bytes
        last = ([None, *record.sent()])[-1]
        lsn, hash = (last.lsn_last, last.hash) if last else (record.fact("acked_lsn"), record.fact("acked_hash"))
        outbox.begin(record.fact("epoch"), lsn, hash, record.fact("at", 0))
        self._wait_for_room()
        watcher = open_watcher(
            settings.scope.roots,
            force=settings.watch,
            weaker_than=self._source._weaker_than,
            scan_interval_seconds=settings.scan_interval_seconds,
            clock=settings.clock,
        )
        view.mechanism, view.costs = watcher.mechanism, watcher.costs
        try:
            live = Live(
                settings, view, record, outbox, self._spool, self._shipper, watcher,
                self._source._stopping, self._source._asked, self._reopen,
            )  # fmt: skip
            live.catch_up(self._why())
            self._source._reason = ""
            live.run()
        finally:
            watcher.close()

    def _why(self) -> str:
        """Why changes may have been missed before this session."""
        if self._source._reason:
            return self._source._reason
        return WAS_DOWN if self._record.fact("clean") else WAS_KILLED

    def _wait_for_room(self) -> None:
        """A spool that was full must drain first: else the catch-up would fill it at once."""
        while self._spool.size_bytes > self._settings.spool_limit_bytes // 2:
            if not self._opened:
                self._reopen()
            self._shipper.wait_until(0, 0.2)
            acked = self._shipper.acknowledged
            if acked is not None:
                self._record.acknowledge(acked.lsn_last, acked.hash)
                self._record.commit()
                self._spool.release(self._record.first_spooled())
            if self._shipper.trouble is not None:
                raise Resync("the spool was full")
            if self._shipper.spool_damaged:
                raise SpoolDamaged(self._shipper.message)
            if self._source._stopping.is_set():
                raise Stopped

    def _open_at_node(self, *, must: bool) -> None:
        """Open the stream and follow the node's answer. Without an answer a record that knows its epoch may go on."""
        record = self._record
        while True:
            try:
                settings = self._settings
                head = self._node.open_stream(settings.stream, settings.host, settings.writer, opening.claim(record))
                break
            except BcsError as error:
                self._view.message = str(error)
                if not must:
                    self._offer_spooled()
                    return
                if self._source._stopping.wait(OPEN_SECONDS):
                    raise Stopped from None
        self._view.message = ""
        left, _ = opening.follow(record, head)
        if not left:
            self._spool.drop()
        self._opened = True
        self._offer_spooled()
        self._shipper.release()

    def _offer_spooled(self) -> None:
        for each in self._record.sent():
            events = each.lsn_last - each.lsn_first + 1
            parcel = Parcel(
                each.lsn_first, each.lsn_last, each.hash, events, each.at, each.through_at, each.place, None, 0
            )
            self._shipper.offer(parcel)

    def _reopen(self) -> bool:
        """Try to open a stream that was begun without the node; whether it is open. Resync if the node is elsewhere."""
        if self._opened:
            return True
        settings, record = self._settings, self._record
        try:
            head: Head = self._node.open_stream(settings.stream, settings.host, settings.writer, opening.claim(record))
        except BcsError as error:
            self._view.message = str(error)
            return False
        self._view.message = ""
        ends = [(record.fact("acked_lsn", 0), record.fact("acked_hash"))]
        ends += [(each.lsn_last, each.hash) for each in record.sent()]
        if head.epoch != record.fact("epoch") or (head.lsn, head.hash) not in ends:
            raise Resync("the node has another history")
        self._opened = True
        self._shipper.release()
        return True
