"""Which acts of the audit stream people are told of: changes of control and failed checks. Pure.

Drills are told of by what they make of their group (`engine.node.alerts.alerts_now`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.model.counts import counted
from engine.model.errors import Damaged, VerificationFailed
from engine.node.alerts.alerts_now import CONTROL_CHANGED, DRIFT, VERIFY_FAILED
from engine.plan.alerts import HAPPENED, Alert, Notice

_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Checked:
    """A check of the journal: when it was recorded, microseconds, and the errors that it found."""

    at: int
    errors: int


@dataclass(frozen=True, slots=True)
class Told:
    """What an act brings: a notice of its own, a matter that stands from now on, the key of one that is over, a
    check."""

    notice: Notice | None = None
    begins: Alert | None = None
    ends: str = ""
    checked: Checked | None = None


def told_of(what: str, who: str, details: Mapping[str, Any], at: int) -> Told | None:
    """What people are to be told of an act; None of most."""
    who = _short(who) or "somebody"
    text = _changed(what, who, details)
    if text:
        return Told(_happened(CONTROL_CHANGED, "control", text, at))
    if what == "sync" and details.get("state") == "healed":
        message = _short(details.get("message")) or "what had changed under the policies was brought back"
        return Told(_happened(DRIFT, "policies", message, at))
    if what == "check":
        return _check(details, at)
    if what == "restore" and details.get("verified") is False and _compared(details):
        address = _short(details.get("address"))
        text = f"a restore by {who} came back with differences to what was protected"
        return Told(_happened(VERIFY_FAILED, address, text, at))
    return None


def _compared(details: Mapping[str, Any]) -> bool:
    """Whether a restore came to where bytes are compared: not one that its target refused, or that was cancelled."""
    return details.get("state", "done") == "done" or details.get("code") in (Damaged.code, VerificationFailed.code)


def _changed(what: str, who: str, details: Mapping[str, Any]) -> str:
    if what == "apply":
        sources = details.get("sources")
        count = counted(len(sources), "source") if isinstance(sources, list) else "policies"
        commit = f", commit {_short(details['commit'])[:12]}" if details.get("commit") else ", from no commit"
        dirty = " with changes of its own" if details.get("dirty") else ""
        return f"{who} applied policies number {_short(details.get('number'))}{commit}{dirty}: {count}"
    if what == "token-create":
        return f"{who} made the token '{_short(details.get('name'))}'"
    if what == "token-revoke":
        return f"{who} revoked the token '{_short(details.get('name'))}'"
    if what == "certificates-revoked":
        return f"{who} revoked the certificates of host {_short(details.get('host'))}"
    return ""


def _check(details: Mapping[str, Any], at: int) -> Told:
    errors = details.get("errors")
    count = errors if isinstance(errors, int) and errors >= 0 else 0
    alert = Alert(VERIFY_FAILED, "journal", at, f"a check found {counted(count, 'error')} in the journal")
    checked = Checked(at, count)
    return Told(begins=alert, checked=checked) if count else Told(ends=alert.key, checked=checked)


def _happened(event: str, subject: str, text: str, at: int) -> Notice:
    return Notice(HAPPENED, event, subject, at, at, text)


def _short(value: object) -> str:
    """A text of somebody else's for one line of ours."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)[:_SHOWN_CHARS]
