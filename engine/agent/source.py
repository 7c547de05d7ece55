"""One source's life: opening, then baseline or catching up, then protected; and what every failure leads to.

A thread a source. Whatever goes wrong ends the session; the next one starts from the record, looks at everything and
closes the gap with a mark that says why. The application is never held up.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.agent.capture.outbox import SpoolFull
from engine.agent.endings import EXCHANGED, Held, Resync, Stopped
from engine.agent.kept.spool import SpoolDamaged
from engine.agent.log import PROCESS
from engine.agent.recovered.lookout import Lookout, home_of
from engine.agent.session import Session
from engine.agent.settings import Begun, Marked, Settings
from engine.agent.ship.client import CopyRefused
from engine.agent.watch.base import WatchRefused
from engine.env import durable, niceness
from engine.env.lines import write_failure
from engine.fill.life.holding import capturing
from engine.model.errors import BcsError
from engine.model.points import CRASH

RETRY_SECONDS = 2.0
RESYNC_SECONDS = 0.1
HELD_SECONDS = 0.1
STOP_SECONDS = 5.0
IDS_KEPT = 1000


class Source:
    """A protected source. `start`, `ask_mark` and `stop` come from another thread."""

    def __init__(self, settings: Settings, reason: str = "") -> None:
        """`reason` says why the source begins again, where the record can't know."""
        self.settings = settings
        self._begun = Begun(settings, reason=reason)
        self.view = self._begun.view
        self._ids: dict[str, bool] = {}  # whether the node has heard that it is done
        self._thread = threading.Thread(target=self._run, name=f"source {settings.stream}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_mark(self, id: str, label: str, point_class: str = "", until: int = 0) -> None:
        """Take a pass and put a bookmark on it; its id shows in `view.marks_done` once the node has it.

        A crash point if one can be had; with `point_class` `crash` nothing else. After `until`, site time, and while
        capture stands still, none is set: a mark belongs to its moment. 0 for ever.

        Once an id: an answer of the node that was on its way when it heard of the mark still asks for it. One that was
        stopped before it could keep what it heard asks again, and is told again.
        """
        if id in self._ids:
            if self._ids[id] and id not in self.view.marks_done:
                self.view.marks_done.append(id)
            return
        self._ids[id] = False
        if len(self._ids) > IDS_KEPT:
            del self._ids[next(iter(self._ids))]
        self._begun.asked.append(Marked(id, label, must_crash=point_class == CRASH, until=until))

    def _refuse_marks(self, reason: str) -> None:
        """A mark belongs to its moment: what can't be set now is not set later."""
        for mark in [mark for mark in self._begun.asked if not mark.lsn]:
            self._begun.tell_mark(mark, reason)

    def forget_marks(self, ids: Iterable[str]) -> None:
        """The node has heard of these marks."""
        for id in ids:
            if id in self.view.marks_done:
                self.view.marks_done.remove(id)
                self.view.marks_told.pop(id, None)
                self._ids[id] = True

    def stop(self) -> None:
        """End in good order: what was captured is shipped if the node takes it within seconds."""
        self._begun.stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def report(self) -> dict[str, Any]:
        """The source's row in the agent's status report."""
        v, stream = self.view, self.settings.stream
        state, message = v.shown()
        return {
            "stream": stream,
            "state": state,
            "mechanism": v.mechanism,
            "ranges": v.ranges,
            "costs": v.costs,
            "through_at": v.through_at or None,
            "last_change_at": v.last_change_at or None,
            "crash_point": {
                "at": v.crash_at or None,
                "how": v.crash_how,
                "held_seconds": round(v.crash_held_seconds, 6),
                "message": v.crash_message,
            },
            "pending": v.pending,
            "pending_big_files": v.pending_big_files,
            "pending_big_bytes": v.pending_big_bytes,
            "bytes_read": self.settings.traffic.read,
            "bytes_changed": self.settings.traffic.changed,
            "bytes_sent": self.settings.traffic.sent,
            "gap_from": v.gap_from or None,
            "gap_reason": v.gap_reason,
            "acknowledged_at": v.acknowledged_at or None,
            "spool_bytes": self.settings.spools[stream].size_bytes if stream in self.settings.spools else 0,
            "unreadable": v.unreadable,
            "unreadable_paths": v.unreadable_paths,
            "baseline": {"files": v.files, "bytes": v.bytes, "done": v.baseline_done},
            "message": message,
        }

    def _run(self) -> None:
        executor = ThreadPoolExecutor(1, f"compress {self.settings.stream}", niceness.as_usual)
        try:
            while not self._begun.stopping.is_set():
                self._session_or_wait(executor)
        finally:
            executor.shutdown(wait=False)

    def _session_or_wait(self, executor: ThreadPoolExecutor) -> None:
        view = self.view
        try:
            durable.make_directories(self.settings.directory)
            with capturing(home_of(self.settings), self.settings.stream) as free:
                lookout = Lookout(self.settings)
                try:
                    lookout.begin(free)
                    Session(self._begun, executor, lookout.check).run()
                finally:
                    niceness.over()
                    lookout.close()
        except Stopped:
            return
        except Held as held:
            view.state, view.message, self._begun.reason = "opening", str(held), str(held)
            view.gap_from, view.gap_reason = view.gap_from or view.through_at, view.gap_reason or str(held)
            self._refuse_marks(f"capture stands still: {held}")
            self._begun.stopping.wait(HELD_SECONDS)
            return
        except Resync as asked:
            self._begun.reason = asked.reason
            self._begun.stopping.wait(RESYNC_SECONDS)
            return
        except WatchRefused as error:
            self._begun.weaker_than = error.details.get("mechanism", view.mechanism)
            self._begun.reason, view.message = EXCHANGED, error.message
            return
        except CopyRefused as error:
            self._begun.spool_lost, self._begun.reason, view.message = True, "the node refused a copy", error.message
            return
        except SpoolDamaged as error:
            self._begun.spool_lost, self._begun.reason, view.message = True, "the spool was damaged", error.message
            return
        except SpoolFull as error:
            view.state, view.message, self._begun.reason = "failed", error.message, "the spool was full"
        except sqlite3.DatabaseError as error:
            view.state, view.message = "failed", f"the record can't be used: {error}"
            if not isinstance(error, sqlite3.OperationalError):
                self._set_record_aside()
        except (BcsError, OSError) as error:
            view.state, view.message = "failed", f"{type(error).__name__}: {error}"
        except Exception as error:  # a source whose thread has ended would go on to say how it was
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{os.path.basename(where.filename)}:{where.lineno}"
            view.state, view.message = "failed", f"a bug, at {at}: {type(error).__name__}: {error}"
            write_failure(PROCESS, f"{self.settings.stream}: {view.message}", error)
        # Until it goes on, nothing is captured.
        view.gap_from, view.gap_reason = view.gap_from or view.through_at, view.gap_reason or view.message
        self._begun.stopping.wait(RETRY_SECONDS)

    def _set_record_aside(self) -> None:
        """A record that SQLite calls damaged is kept for those who want to know why; a new one begins."""
        path = self.settings.directory / "record.sqlite"
        for suffix in ("-wal", "-shm", ""):
            old = path.with_name(path.name + suffix)
            if old.exists():
                old.rename(path.with_name(f"damaged-{path.name}{suffix}"))
