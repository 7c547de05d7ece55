"""Whether a mark's label is still free in a group: `mark:LABEL` can mean one mark only."""

from __future__ import annotations

from collections.abc import Iterable

from engine.journal.open import Journal
from engine.model.errors import Damaged, Refused
from engine.model.events import BOOKMARK
from engine.model.times import format_time
from engine.node.desired import MarkRequest
from engine.query.points import marks
from engine.query.session import Session


def first_set(journal: Journal, streams: Iterable[str], label: str) -> int | None:
    """When any of these streams was first marked so, microseconds; None for never. Reads the journal."""
    found: list[int] = []
    with Session(journal) as session:
        for stream in streams:
            try:
                found += [each.at for each in marks(session, stream) if (each.kind, each.label) == (BOOKMARK, label)]
            except Damaged:
                continue  # a journal that is damaged elsewhere can be marked all the same
    return min(found, default=None)


def refuse_taken(label: str, group: str, set_at: int | None, asked: Iterable[MarkRequest], now: int) -> None:
    """Refused when a mark of this label was `set_at` some time, or is among those that were `asked` for and may still
    be set. `now` is site time, as all times microseconds."""
    hint = "take another label; with --again it is set once more, and mark:LABEL then means the later one"
    if set_at is not None:
        raise Refused(
            f"{group} was marked '{label}' at {format_time(set_at)}",
            hint=hint,
            details={"label": label, "set_at": format_time(set_at)},
        )
    same = [
        one for one in asked if one.label == label and one.address.split("/")[0] == group and not _never_set(one, now)
    ]
    if same:
        when = "a moment ago" if all(one.done for one in same) else "already, and an agent has yet to set it"
        raise Refused(
            f"a mark '{label}' of {group} was asked for {when}", hint=hint, details={"label": label, "set_at": None}
        )


def _never_set(mark: MarkRequest, now: int) -> bool:
    if mark.done:
        return not mark.point_class and bool(mark.reason)
    return bool(mark.until) and mark.until < now
