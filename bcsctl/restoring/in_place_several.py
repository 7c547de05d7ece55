"""bcsctl restore --in-place of several sources: each where it stands, all from one mark, to which one command leads.

All of it is looked at, and refused, before a mark is set. Then one that fails keeps no other from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bcsctl.opening import Named, scenes
from bcsctl.output import BAD, BUSY, DIM, GOOD, print_json, say, tell
from bcsctl.restoring.afar import known_of
from bcsctl.restoring.here import Asked
from bcsctl.restoring.in_place import done, new_label, plan_of, render, render_plan, set_mark
from bcsctl.restoring.moments import of_all
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.model.counts import counted
from engine.model.errors import BcsError, NothingThere
from engine.model.ids import parse_address
from engine.model.times import format_size
from engine.plan.scope import chosen

FRESH_SECONDS = 300.0
"""A mark that is older is no beginning any more: what happened since is in no plan. Another one is set then."""
SUMMED = ("make", "rewrite", "attributes", "remove", "bytes", "seconds_estimated")
DONE = ("files", "names", "bytes", "removed")


def several_in_place(where: Settings, asked: Asked, exact: bool) -> int:
    """Bring each back. The gravest exit code."""
    wanted = [Named(address, asked.path) for address in _addresses(where, asked)]
    plans = _planned(where, asked, wanted, exact)
    answer: dict[str, Any] = {"address": asked.name, "exact": exact}
    answer["plan"] = {name: sum(row["plan"][name] for row in plans.values()) for name in SUMMED}
    if asked.dry_run:
        return _shown({**answer, "sources": list(plans.values()), "dry_run": True}, asked)
    marks = _Marks(where, plans)
    rows: list[dict[str, Any]] = []
    code = 0
    for each in wanted:
        if each.address in plans:
            row, one = _done(where, asked, each, exact, marks.fresh(), plans[each.address])
            rows, code = [*rows, row], max(code, one)
    whole = [row for row in rows if "error" not in row]
    answer |= {name: sum(row[name] for row in whole) for name in DONE}
    answer |= {"verified": len(whole) == len(rows) and all(row["verified"] for row in whole), "sources": rows}
    answer |= {"undo": f"mark:{marks.labels[0]}"} if len(marks.labels) == 1 else {}
    if asked.as_json:
        print_json(answer)
    else:
        _render_all(answer, marks.labels)
    return code


class _Marks:
    """The marks to which what is done is undone: one for all sources, and another one once that is old."""

    def __init__(self, where: Settings, addresses: Iterable[str]) -> None:
        self._where = where
        self._groups: dict[str, set[str]] = {}
        for address in addresses:
            self._groups.setdefault(parse_address(address).group, set()).add(address)
        self._set_at = -FRESH_SECONDS
        self.labels: list[str] = []

    def fresh(self) -> str:
        """The label of one that is fresh. Failed, Refused when the agents don't set it."""
        if SYSTEM.monotonic() - self._set_at >= FRESH_SECONDS:
            self.labels.append(new_label())
            for group, addresses in self._groups.items():
                set_mark(self._where.endpoint, group, addresses, self.labels[-1])
            self._set_at = SYSTEM.monotonic()
        return self.labels[-1]


def _addresses(where: Settings, asked: Asked) -> list[str]:
    if where.site is not None:
        return [str(address) for address in chosen(asked.scope, known_of(where, asked))]
    with scenes(where, asked.scope) as found:
        return [there.address for there in found]


def _planned(where: Settings, asked: Asked, wanted: Sequence[Named], exact: bool) -> dict[str, dict[str, Any]]:
    """What each would change, by address. What is left out is said."""
    from engine.recovery.errand import nothing_of

    plans: dict[str, dict[str, Any]] = {}
    missing = _lacking(where, wanted, asked.at, exact, plans)
    if missing and not (plans and (asked.partial or asked.path is not None)):
        raise of_all(
            nothing_of(missing, len(wanted)), missing, len(wanted), lambda at: _lacking(where, wanted, at, exact, {})
        )
    for address, why in missing.items():
        say(f"{address} is left out: {why.message}", BUSY)
    return plans


def _lacking(
    where: Settings, wanted: Sequence[Named], at: str, exact: bool, plans: dict[str, dict[str, Any]]
) -> dict[str, NothingThere]:
    """The sources that have nothing there then, and why; what is planned of the others goes into `plans`."""
    missing: dict[str, NothingThere] = {}
    for each in wanted:
        try:
            plans[each.address] = plan_of(where, each, at, exact)
        except NothingThere as error:
            missing[each.address] = error
    return missing


def _done(
    where: Settings, asked: Asked, wanted: Named, exact: bool, label: str, plan: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """One of them; `error` where it could not be done."""
    at = f"point:{plan['point']}"
    try:
        row, code = done(where, wanted, at, label, exact=exact, verify=asked.verify, as_json=asked.as_json, marked=True)
    except BcsError as error:
        row, code = {**plan, "error": error.as_json()["error"]}, error.exit_code
        if not asked.as_json:
            say(f"{wanted.address}: {error.message}{f'; {error.hint}' if error.hint else ''}", BAD)
        return row, code
    if not asked.as_json:
        say(wanted.address)
        render(row)
    return row, code


def _shown(answer: Mapping[str, Any], asked: Asked) -> int:
    if asked.as_json:
        print_json(answer)
        return 0
    for row in answer["sources"]:
        tell(row["address"])
        render_plan(row)
    return 0


def _render_all(answer: Mapping[str, Any], labels: Sequence[str]) -> None:
    failed = sum("error" in row for row in answer["sources"])
    size = f"{counted(answer['names'], 'path')} with {format_size(answer['bytes'])}"
    verified = "verified" if answer["verified"] else "NOT VERIFIED"
    not_done = f", {counted(failed, 'source')} could NOT be brought back" if failed else ""
    of = f"of {counted(len(answer['sources']) - failed, 'source')}"
    tell(f"In all {size} {of} in place, {verified}{not_done}", GOOD if answer["verified"] else BAD)
    if len(labels) == 1:
        say(f"undo all: bcsctl restore {answer['address']} --at mark:{labels[0]} --in-place --exact", DIM)
