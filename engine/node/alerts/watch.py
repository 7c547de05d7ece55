"""The watch: looks every few seconds at how the site is, and has those told whom the policies' Notifications name.

It judges by the node's own state, on a thread of its own: nothing here is waited for by ingest. What was told, and what
waits to be sent, survives a restart. Each message that was delivered or given up is in the audit stream.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.env.randomness import token_hex
from engine.model.errors import BcsError, NothingThere
from engine.model.times import format_time
from engine.node.alerts.acts_told import Checked, Told, told_of
from engine.node.alerts.alerts_now import GAP, OVER, Beside, Disk, alerts_in, gap_text, utc
from engine.node.alerts.delivery import LIMITS, Limits, NotDelivered, post_webhook, send_mail, shown
from engine.node.alerts.messages import Message, Origin, json_of, mail_of
from engine.node.alerts.sending import DELIVERED, FAILED, GIVEN_UP, Outcome, Sender
from engine.node.alerts.state import State, read_state, write_state
from engine.node.log import ERROR, WARNING, log, log_failure
from engine.node.monitoring.overview import site_status
from engine.node.monitoring.summary import answer
from engine.plan.alerts import HAPPENED, RESOLVED, Alert, Notice, Standing, step

if TYPE_CHECKING:
    from engine.node.parts import Parts

LOOK_SECONDS = 5.0
LOOK_SHARE = 30
"""A look at a very large site must not take more than such a part of the time."""

WORK_SECONDS = 0.5
TESTED_AT_ONCE = 64
WHO = "node"


class Watch:
    """Reads its state from the journal when it is made; `start` runs it. `look` and `work` are one round each."""

    def __init__(self, parts: Parts, limits: Limits = LIMITS) -> None:
        self._parts, self._limits = parts, limits
        state, self._number = read_state(parts.journal.store)
        self._standing: dict[str, Standing] = dict(state.standing)
        self._sticky: dict[str, Alert] = dict(state.sticky)
        self._checked = state.checked
        self._saved = state.essence()
        self._sender = Sender(self._deliver, parts.clock)
        self._sender.take(state.waiting)
        self._acts: deque[Told] = deque()
        self._gaps: dict[str, int] = {}
        self._answer = "nobody has looked yet"
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # What others call.

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 1.0) -> None:
        """End after the round that is under way. What is being sent is sent again by the next start, if it was cut."""
        self._stopping.set()
        self._sender.news.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def heard_act(self, what: str, who: str, details: Mapping[str, Any], at: int) -> None:
        """An act is in the audit stream."""
        told = told_of(what, who, details, at)
        if told is not None:
            self._acts.append(told)

    def standing(self) -> dict[str, int]:
        """How many matters stand, told or about to be, by event."""
        return dict(Counter(each.alert.event for each in list(self._standing.values()) if not each.over_at))

    def waiting(self) -> int:
        return len(self._sender.messages())

    def last_check(self) -> Checked | None:
        return self._checked

    def as_json(self) -> dict[str, Any]:
        """What stands and what waits, for `bcsctl notify list`."""
        return {
            "alerts": [
                {"event": each.alert.event, "subject": each.alert.subject, "text": each.alert.text,
                 "since": format_time(each.alert.since), "told_at": format_time(each.told_at) if each.told else None}
                for each in sorted(self._standing.values(), key=lambda each: each.alert.key)
                if not each.over_at
            ],
            "waiting": [
                {"notification": each.rule, "type": each.type, "to": shown(each.type, each.to),
                 "notices": len(each.notices), "since": format_time(each.created_at)}
                for each in self._sender.messages()
            ],
            "notifications": [
                {"name": rule.name, "on": list(rule.on),
                 "to": [{"type": each.type, "to": shown(each.type, each.to)} for each in rule.to]}
                for rule in self._parts.desired.notifications
            ],
        }  # fmt: skip

    def test(self, name: str = "") -> list[dict[str, Any]]:
        """Send a test message to each target of a notification, or of all; what became of each. NothingThere for a
        name that there is not."""
        rules = [rule for rule in self._parts.desired.notifications if name in ("", rule.name)]
        if not rules:
            known = ", ".join(rule.name for rule in self._parts.desired.notifications)
            what = f"there is no notification '{name}'" if name else "no applied policy is a Notification"
            raise NothingThere(what, hint=f"there is {known}" if known else "write one, then `bcsctl apply`")
        now = self._parts.clock.now()
        messages = [Message(token_hex(8), rule.name, to.type, to.to, now, ()) for rule in rules for to in rule.to]
        with ThreadPoolExecutor(TESTED_AT_ONCE, "notify-test") as pool:
            failures = list(pool.map(self._failure, messages))
        return [
            {
                "notification": each.rule,
                "type": each.type,
                "to": shown(each.type, each.to),
                "delivered": not why,
                "error": why,
            }
            for each, why in zip(messages, failures, strict=True)
        ]

    # Rounds.

    def look(self) -> list[Notice]:
        """Judge how things are now, and queue what is to be told; what that is."""
        parts = self._parts
        found = site_status(parts, delays=False)
        self._answer = answer(found["groups"], utc)
        notices = self._of_acts() + self._of_gaps(parts.clock.now())
        beside = Beside(parts.settings.certificate_seconds, parts.sync, _disk(parts))
        alerts = {**alerts_in(found, beside), **self._sticky}
        self._standing, changed = step(self._standing, alerts, parts.clock.now())
        notices += [_over(each) if each.kind == RESOLVED else each for each in changed]
        rules = parts.desired.notifications
        self._sender.keep_only((rule.name, to.type, to.to) for rule in rules for to in rule.to)
        for rule in rules:
            wanted = [each for each in notices if each.event in rule.on]
            for to in rule.to if wanted else ():
                self._sender.offer(rule.name, to.type, to.to, wanted, parts.clock.now())
        self._save()
        return notices

    def work(self) -> list[Outcome]:
        """Begin what is due to be sent, and settle what has been."""
        outcomes = self._sender.outcomes()
        for each in outcomes:
            self._parts.metrics.notifications.labels(each.message.type, each.outcome).inc()
            self._record(each)
        if outcomes:
            self._save()
        self._sender.work()
        return outcomes

    def _run(self) -> None:
        clock = self._parts.clock
        look_at = clock.monotonic()
        while not self._stopping.is_set():
            try:
                if (begun := clock.monotonic()) >= look_at:
                    look_at = begun + LOOK_SECONDS  # should it fail
                    self.look()
                    look_at = max(look_at, begun + LOOK_SHARE * (clock.monotonic() - begun))
                self.work()
            except (BcsError, OSError) as error:
                log(f"the watch is held up: {error}", clock, level=WARNING)
            except Exception as error:
                log_failure("the watch", error, clock)
            self._sender.news.wait(WORK_SECONDS)

    def _of_acts(self) -> list[Notice]:
        notices = []
        while self._acts:
            told = self._acts.popleft()
            if told.notice is not None:
                notices.append(told.notice)
            if told.begins is not None:
                self._sticky[told.begins.key] = told.begins
            if told.ends:
                self._sticky.pop(told.ends, None)
            self._checked = told.checked or self._checked
        return notices

    def _of_gaps(self, now: int) -> list[Notice]:
        """Gaps that came and went between two looks. Those that were open at a look are told of as such."""
        notices = []
        for address, source in self._parts.desired.sources.items():
            stored = self._parts.facts.stored(source["stream"], now, delays=False)
            count = stored.gaps + stored.gaps_beside
            gap = self._parts.facts.gap_last(source["stream"])
            if gap is not None and count > self._gaps.get(address, 0) and f"{GAP} {address}" not in self._standing:
                since, until, reason = gap
                text = gap_text(since, until, reason)
                notices.append(Notice(HAPPENED, GAP, address, since, until, text))
            self._gaps[address] = count
        return notices

    def _save(self) -> None:
        """Keep what has changed. A store that fails holds up no message: it is written at the next round."""
        state = State(self._standing, self._sticky, tuple(self._sender.messages()), self._checked)
        essence = state.essence()
        nobody_hears = not self._parts.desired.notifications and not self._number
        if essence == self._saved or (nobody_hears and state.checked is None):
            return
        try:
            self._number = write_state(self._parts.journal.store, state, self._number)
            self._saved = essence
        except (BcsError, OSError) as error:
            log(f"what was told could not be kept: {error}", self._parts.clock, level=WARNING)

    # Sending.

    def _deliver(self, message: Message) -> None:
        settings = self._parts.settings
        origin = Origin(settings.site, self._parts.name, self._answer, self._parts.clock.now())
        if message.type == "webhook":
            post_webhook(message.to, json_of(message, origin), self._limits)
            return
        mail = settings.mail
        send_mail(mail_of(message, origin, mail.sender if mail else "nobody@bcs.invalid"), mail, self._limits)

    def _failure(self, message: Message) -> str:
        """Why a message could not be delivered; empty if it was."""
        try:
            self._deliver(message)
        except NotDelivered as error:
            return str(error)
        return ""

    def _record(self, ended: Outcome) -> None:
        """In the audit stream: the first failure of a message, and how it ended. In the log: each try that failed."""
        message = ended.message
        target = shown(message.type, message.to)
        if ended.outcome != DELIVERED:
            level = ERROR if ended.outcome == GIVEN_UP else WARNING
            log(f"notification {message.rule} to {target} {ended.outcome}: {ended.why}", level=level, tries=ended.tries)
        if ended.outcome == FAILED and ended.tries > 1:
            return
        details = {
            "notification": message.rule,
            "message": message.id,
            "type": message.type,
            "to": target,
            "tries": ended.tries,
            "notices": [f"{each.kind} {each.event} {each.subject}" for each in message.notices],
        }
        if ended.why:
            details["error"] = ended.why
        try:
            self._parts.audit.act(f"notification-{ended.outcome}", WHO, details)
        except (BcsError, OSError) as error:
            log(f"notification {message.rule} to {target} is not in the audit: {error}", level=WARNING)


def _over(notice: Notice) -> Notice:
    """What is told of a matter that has ended."""
    return replace(notice, text=f"{OVER.get(notice.event, 'it is over')}; it had begun at {utc(notice.since)}")


def _disk(parts: Parts) -> Disk | None:
    try:
        found = os.statvfs(parts.settings.journal)
    except OSError:
        return None
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
