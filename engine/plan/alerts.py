"""When to tell people: a matter is raised once it has held for a while, resolved once it has been over for a while, and
told again each day in between. One that comes and goes is waited for longer each time. Pure.

What happens at a moment and is not a state, as an apply, is a notice of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from engine.model.times import DAY, HOUR, MINUTE, SECOND

HELD = {"rpo-missed": 10 * SECOND, "agent-silent": 30 * SECOND, "apply-failed": 0, "disk-low": MINUTE}
HELD |= {"clock-skew": 5 * MINUTE, "spool-filling": 10 * SECOND}
"""How long a matter must hold before it is told; any other is told at once."""

SETTLED = MINUTE
"""How long it must be over before it counts as resolved."""

REPEATED = DAY
FORGOTTEN = HOUR
"""After so long without a return a matter begins anew. Until then each return doubles how long it must hold, or be
over."""

DOUBLED_MAX = 5

RAISED, RESOLVED, REMINDER, HAPPENED = "raised", "resolved", "reminder", "happened"


@dataclass(frozen=True, slots=True)
class Alert:
    """What is the matter with `subject`, in one plain sentence, and since when (microseconds)."""

    event: str
    subject: str
    since: int
    text: str

    @property
    def key(self) -> str:
        return f"{self.event} {self.subject}"


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told: one of RAISED, RESOLVED, REMINDER, HAPPENED, at a time."""

    kind: str
    event: str
    subject: str
    since: int
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A matter over time. `first_at`: seen since; `told_at`: last told, 0 for not told; `over_at`: not seen since, 0
    while it is seen; `returns`: how often it came back."""

    alert: Alert
    first_at: int
    told_at: int = 0
    over_at: int = 0
    returns: int = 0

    @property
    def told(self) -> bool:
        return self.told_at > 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def standing_from(value: Mapping[str, Any]) -> Standing:
    """What `as_json` made. Raises KeyError or TypeError for anything else."""
    return Standing(**{**value, "alert": Alert(**value["alert"])})


def step(
    standing: Mapping[str, Standing], alerts: Mapping[str, Alert], now: int
) -> tuple[dict[str, Standing], list[Notice]]:
    """What stands now, and what is to be told of it; `alerts` are those that hold, by key."""
    after: dict[str, Standing] = {}
    notices: list[Notice] = []
    for key in {**standing, **alerts}:
        known, alert = standing.get(key), alerts.get(key)
        kept, notice = _gone(known, now) if alert is None and known else _there(known, alert, now)
        if kept is not None:
            after[key] = kept
        if notice is not None:
            notices.append(notice)
    return after, notices


def _there(known: Standing | None, alert: Alert | None, now: int) -> tuple[Standing | None, Notice | None]:
    """A matter that holds."""
    assert alert is not None
    if known is None:
        known = Standing(alert, now)
    elif known.over_at and not known.told:  # it was resolved a while ago, and is back
        known = Standing(known.alert, now, returns=known.returns + 1)
    # While it is told, it is the same matter: since when it holds does not change with a short break.
    since = known.alert.since if known.told else alert.since
    known = replace(known, alert=replace(alert, since=since), over_at=0)
    if not known.told and now - known.first_at >= _longer(HELD.get(alert.event, 0), known):
        return replace(known, told_at=now), _notice(RAISED, known.alert, now)
    if known.told and now - known.told_at >= REPEATED:
        return replace(known, told_at=now), _notice(REMINDER, known.alert, now)
    return known, None


def _gone(known: Standing, now: int) -> tuple[Standing | None, Notice | None]:
    """A matter that holds no more."""
    if not known.told:
        if not known.over_at:
            return (replace(known, over_at=now), None) if known.returns else (None, None)
        return (None, None) if now - known.over_at >= FORGOTTEN else (known, None)
    known = known if known.over_at else replace(known, over_at=now)
    if now - known.over_at >= _longer(SETTLED, known):
        return replace(known, told_at=0), _notice(RESOLVED, known.alert, now)
    return known, None


def _longer(period: int, known: Standing) -> int:
    """A period for a matter that has come back so often."""
    return int(max(period, SETTLED if known.returns else 0) * 2 ** min(known.returns, DOUBLED_MAX))


def _notice(kind: str, alert: Alert, now: int) -> Notice:
    return Notice(kind, alert.event, alert.subject, alert.since, now, alert.text)
