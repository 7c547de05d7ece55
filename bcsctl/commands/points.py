"""bcsctl points: where a source can be brought back to, and where it can't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bcsctl.completing import ADDRESSES
from bcsctl.entries import left_at
from bcsctl.opening import scene
from bcsctl.options import exits, period
from bcsctl.output import BAD, BUSY, DIM, GOOD, json_option, local_time, print_json, say, table, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import SiteCommand, site_option
from engine.env.clock import SYSTEM
from engine.model.counts import counted
from engine.model.points import APPLICATION, CRASH, FUZZY, QUIET, Gap, Point, beside_json
from engine.model.times import SECOND, format_about, format_time

if TYPE_CHECKING:
    from engine.model.lineage import Beside
    from engine.query.branches import Branch

COLOURS = {APPLICATION: GOOD, CRASH: GOOD, QUIET: "cyan", FUZZY: BUSY}
SHOWN = 20


@click.command("points", cls=SiteCommand, epilog=exits(4, 5))
@click.argument("address", shell_complete=ADDRESSES)
@click.option("--from", "from_at", metavar="TIME", help="The first moment of the range.")
@click.option("--to", "to_at", metavar="TIME", help="The last moment of the range.")
@click.option("--class", "point_class", type=click.Choice(list(COLOURS)), help="Only points of this class.")
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"How many, the latest last (default: {SHOWN}; with --json all)."
)
@click.option("--beside", is_flag=True, help="Those too that lie beside the present history.")
@site_option
@home_option
@json_option
def command(
    address: str,
    from_at: str | None,
    to_at: str | None,
    point_class: str | None,
    limit: int | None,
    beside: bool,
    home: str | None,
    as_json: bool,
) -> None:
    """List recovery points, marks and gaps of a source.

    A point's class: application (a driver vouches), crash (one atomic look), quiet (nothing
    changed before, during or after the look), fuzzy (something was changing meanwhile).
    With a node running, a gap that is still open shows too: a silent agent is one. What a recovery to
    an earlier moment has left beside the history has a line at the end; --beside lists it too, in
    order of time, with what left it.

    \b
    Example:  bcsctl points finance/sf-db1/files --from -1h
    """
    now = SYSTEM.now()
    first, last = period(from_at, to_at, now)
    with scene(settings(home), address) as at:
        from engine.query.branches import branches
        from engine.query.points import count as count_of
        from engine.query.points import gaps, known_until, points

        shown = None if as_json and not limit else limit or SHOWN
        found = points(at.session, at.stream.id, first, last, shown, point_class=point_class)
        count = count_of(at.session, at.stream.id, first, last, point_class)
        word = at.word()
        known = [*gaps(at.session, at.stream.id), *([word.gap] if word and word.gap else [])]
        missed: list[tuple[Gap, Beside | None]] = [(gap, None) for gap in known if _meets(gap, first, last)]
        aside = branches(at.session, at.stream.id)
        through = max(known_until(at.session, at.stream.id), (word.through_at if word else None) or 0)
    asked = [_within(branch, first, last, point_class) for branch in aside]
    if beside:
        left = [replace(point, beside=branch.beside) for branch in asked for point in branch.points]
        found, count = sorted([*found, *left], key=lambda point: point.at), count + len(left)
        found = found if shown is None else found[-shown:]
        missed += [(gap, branch.beside) for branch in asked for gap in branch.gaps]
    if as_json:
        print_json(
            {
                "address": address,
                "count": count,
                "through_at": format_time(through) if through else None,
                "points": [_point_json(point) for point in found],
                "gaps": [_gap_json(gap) | beside_json(branch) for gap, branch in missed],
                "branches": [_branch_json(branch) for branch in aside],
            }
        )
        return
    render(found, missed, count, now, through if last is None else 0)
    for branch, here in zip(aside, asked, strict=True):
        say(branch_line(branch, here, listed=beside), DIM if beside else None)


def _within(branch: Branch, first: int | None, last: int | None, point_class: str | None) -> Branch:
    """What of a branch is asked for."""
    points = tuple(
        point
        for point in branch.points
        if (first is None or point.at >= first)
        and (last is None or point.at <= last)
        and point_class in (None, point.point_class)
    )
    return replace(branch, points=points, gaps=tuple(gap for gap in branch.gaps if _meets(gap, first, last)))


def branch_line(branch: Branch, here: Branch, *, listed: bool) -> str:
    """`beside this history, which left it at 1.20 (recovery 5f): 30 points (2 in this range) and 1 gap up to ...`."""
    points, gaps = (counted(len(each), what) for each, what in ((branch.points, "point"), (branch.gaps, "gap")))
    part = "" if len(here.points) == len(branch.points) else f" ({len(here.points):,} of what is asked for)"
    end = f"point:{branch.last.position}, {local_time(branch.last.at, 6)}"
    missed = f" and {gaps}" if branch.gaps else ""
    return f"{left_at(branch.beside)}: {points}{part}{missed} up to {end}{'' if listed else '; --beside lists them'}"


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "point": str(point.position),
        "at": format_time(point.at),
        "class": point.point_class,
        "label": point.label or None,
        "committed_at": format_time(point.committed_at),
        **beside_json(point.beside),
    }


def _gap_json(gap: Gap) -> dict[str, Any]:
    return {
        "from": format_time(gap.from_at),
        "to": format_time(gap.to_at) if gap.to_at is not None else None,
        "reason": gap.reason,
    }


def _branch_json(branch: Branch) -> dict[str, Any]:
    return {
        "epoch": branch.epoch,
        "left": str(branch.beside.left),
        "cause": branch.beside.cause,
        "points": len(branch.points),
        "last": str(branch.last.position),
        "last_at": format_time(branch.last.at),
        "gaps": [_gap_json(gap) for gap in branch.gaps],
    }


def _meets(gap: Gap, first: int | None, last: int | None) -> bool:
    return (last is None or gap.from_at <= last) and (first is None or gap.to_at is None or gap.to_at >= first)


def render(
    found: Sequence[Point], gaps: Sequence[tuple[Gap, Beside | None]], count: int, now: int, through: int = 0
) -> None:
    """A table, oldest first, with the gaps where they lie; a column more names what has left those beside the history.
    `through`: up to when the source is known to be complete, 0 where that is not to be said."""
    if not found and not gaps:
        tell("no recovery point in this range")
        return
    shown_from = found[0].at if len(found) < count else None
    rows = [
        (
            point.at,
            [
                f"point:{point.position}",
                local_time(point.at, 6),
                (point.point_class, COLOURS.get(point.point_class)),
                f"mark:{point.label}" if point.label else "",
                (_beside_cell(point.beside), BUSY),
            ],
        )
        for point in found
    ]
    for gap, beside in gaps:
        if shown_from is None or gap.to_at is None or gap.to_at >= shown_from:
            rows.append((gap.from_at, [*_gap_row(gap, now), (_beside_cell(beside), BUSY)]))
    rows.sort(key=lambda row: row[0])
    titles = ["POINT", "AT", "CLASS", "LABEL", "BESIDE"]
    if not any(point.beside for point in found) and not any(beside for _, beside in gaps):
        titles.pop()
    table(titles, [cells[: len(titles)] for _, cells in rows])
    if len(found) < count:
        say(f"the last {len(found)} of {counted(count, 'point')}: --from, --to and --limit show others", DIM)
    else:
        idle = bool(found) and through - found[-1].at >= SECOND
        say(counted(count, "point") + (f"; complete up to {local_time(through)}" if idle else ""), DIM)


def _beside_cell(beside: Beside | None) -> str:
    return beside.cause if beside else ""


def _gap_row(gap: Gap, now: int) -> list[str | tuple[str, str | None]]:
    end = gap.to_at if gap.to_at is not None else now
    until = "ended" if gap.to_at is not None else "still open"
    text = f"{gap.reason} ({format_about(end - gap.from_at)}, {until}): changes may have been missed"
    return [("gap", BAD), (local_time(gap.from_at, 6), BAD), ("-", BAD), (text, BAD)]
