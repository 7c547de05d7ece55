"""The messages that people get: one JSON object for a webhook, a subject and a plain text for a mail. Pure.

What happened comes first, then how the site is as a whole. `text` in the JSON is the mail's text: chat programs that
take a webhook show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from engine.model.times import format_time
from engine.node.alerts.alerts_now import utc
from engine.plan.alerts import HAPPENED, RAISED, REMINDER, RESOLVED, Notice

VERSION = 1
LINES = SMTP.clone(max_line_length=400)
"""Subjects stay on one line: not every reader puts a folded one together well."""
NOTICES_MAX = 200
"""So many notices are in one message; of more, the newest."""

_TITLES = {RAISED: "New", HAPPENED: "Happened", REMINDER: "Still so", RESOLVED: "Over"}


@dataclass(frozen=True, slots=True)
class Message:
    """`id` stays the same however often a message is sent, so that who gets it twice can tell.

    `rule` is the Notification it comes by, `type` and `to` its target; `dropped` counts notices that were too many.
    """

    id: str
    rule: str
    type: str
    to: str
    created_at: int
    notices: tuple[Notice, ...]
    dropped: int = 0

    def with_more(self, notices: Sequence[Notice]) -> Message:
        """The same message with later notices too."""
        every = [*self.notices, *notices]
        dropped = self.dropped + max(0, len(every) - NOTICES_MAX)
        kept = tuple(every[-NOTICES_MAX:])
        return Message(self.id, self.rule, self.type, self.to, self.created_at, kept, dropped)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def message_from(value: Mapping[str, Any]) -> Message:
    """What `as_json` made. Raises KeyError or TypeError for anything else."""
    return Message(**{**value, "notices": tuple(Notice(**each) for each in value["notices"])})


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message comes from; `answer` is the one sentence on the whole site."""

    site: str
    node: str
    answer: str
    at: int


def headline(notices: Sequence[Notice]) -> str:
    """One line: what is new, or how many things are."""
    first = next(
        (each for kind in (RAISED, HAPPENED, REMINDER, RESOLVED) for each in notices if each.kind == kind), None
    )
    if first is None:
        return "a test"
    said = _said(first)
    return said if len(notices) == 1 else f"{said} (and {len(notices) - 1:,} more)"


def text_of(message: Message, origin: Origin) -> str:
    """The text for people. Ends with a line feed."""
    lines = [f"{headline(message.notices)}."] if len(message.notices) == 1 else []
    if not message.notices:
        lines = ["This is a test: messages of this notification reach you."]
    elif len(message.notices) > 1:
        lines = [f"{len(message.notices) + message.dropped:,} things to know."]
        for kind, title in _TITLES.items():
            of_kind = [each for each in message.notices if each.kind == kind]
            if of_kind:
                lines += ["", f"{title}:"]
                lines += [f"  {_said(each)}" for each in of_kind]
        if message.dropped:
            lines += ["", f"{message.dropped:,} older ones are left out."]
    lines += ["", f"The site now: {origin.answer}.", ""]
    lines += [f"Sent at {utc(origin.at)} by node {origin.node} of site {origin.site}, notification {message.rule}."]
    lines += ["`bcsctl status` shows more."]
    return "\n".join(lines) + "\n"


def json_of(message: Message, origin: Origin) -> bytes:
    """The body of a webhook's POST."""
    told = {
        "version": VERSION,
        "id": message.id,
        "site": origin.site,
        "node": origin.node,
        "at": format_time(origin.at),
        "notification": message.rule,
        "summary": headline(message.notices),
        "status": origin.answer,
        "notices": [
            {
                "kind": each.kind,
                "event": each.event,
                "subject": each.subject,
                "since": format_time(each.since),
                "at": format_time(each.at),
                "text": each.text,
            }
            for each in message.notices
        ],
        "dropped": message.dropped,
        "text": text_of(message, origin),
    }
    return json.dumps(told, indent=1).encode()


def mail_of(message: Message, origin: Origin, sender: str) -> EmailMessage:
    """The mail, from `sender`."""
    mail = EmailMessage(LINES)
    mail["Subject"] = _one_line(f"[bcs {origin.site}] {headline(message.notices)}")[:200]
    mail["From"] = sender
    mail["To"] = message.to
    mail["Date"] = format_datetime(datetime.fromtimestamp(origin.at / 1e6, UTC))
    mail["Message-ID"] = f"<{message.id}@{_domain(origin.site)}.bcs>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence answers it
    mail.set_content(text_of(message, origin).encode("utf-8", "backslashreplace").decode())
    return mail


def _said(notice: Notice) -> str:
    """One notice, with a time where its text has none."""
    when = f", at {utc(notice.at)}" if notice.kind == HAPPENED and " UTC" not in notice.text else ""
    return f"{notice.subject}: {notice.text}{when}"


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _domain(name: str) -> str:
    return "".join(char if char.isascii() and (char.isalnum() or char in "-.") else "-" for char in name) or "site"
