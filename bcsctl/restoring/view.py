"""A restore for the eye: its plan, what is not as it should be, and one clear line at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bcsctl.entries import as_of
from bcsctl.output import BAD, BUSY, GOOD, local_time, printable, say, table, tell
from engine.model.counts import counted
from engine.model.ids import parse_position
from engine.model.points import Point, read_beside
from engine.model.times import format_about, format_size, parse_time

LISTED = 20


def point_of(told: Mapping[str, Any]) -> Point:
    """The point in an answer of ours."""
    return Point(parse_position(told["point"]), parse_time(told["at"], 0), 0, told["class"], beside=read_beside(told))


def render_plan(told: Mapping[str, Any], address: str, where: str) -> None:
    """The dry run of an answer that holds a plan; `where` it would go."""
    plan = told["plan"]
    tell(f"{address}:{printable(plan['path'])} {as_of(point_of(told))}")
    tell(f"would go to  {printable(where)}")
    data = plan.get("data_bytes")
    holes = "" if data in (None, plan["bytes"]) else f" ({format_size(plan['bytes'])} with their holes)"
    tell(f"files        {plan['files']:,} with {written(plan)}{holes}")
    tell(f"directories  {plan['directories']:,}")
    tell(f"others       {plan['others']:,} (links, fifos, sockets, devices)")
    tell(f"about        {format_about(round(plan['seconds_estimated'] * 1e6))}")
    standing(plan.get("standing", {}))
    unreadable(plan["unreadable"])


def written(plan: Mapping[str, Any]) -> str:
    """How much would be written; where nobody has looked how much of the files are holes, how much at most."""
    data = plan.get("data_bytes")
    return format_size(data) if data is not None else f"up to {format_size(plan['bytes'])}"


def standing(told: Mapping[str, Any]) -> None:
    """What is in the way of a plan."""
    if told.get("replaced") or told.get("alike"):
        what = "a file" if told["files"] == 1 else "files"
        of_them = what if told["replaced"] == told["files"] == 1 else f"{told['files']:,} of them {what}"
        files = f"{of_them} with {format_size(told['bytes'])}"
        tell(f"replaces     {counted(told['replaced'], 'name')}, {files}")
        tell(f"stays        {told['alike']:,} that look as they are to be; their bytes are read and compared first")
        _list([f"~ {printable(name)}" for name in told["names"]], "would be replaced", BUSY, told["replaced"])
    if told.get("conflicts_count"):
        lines = [
            f"! {printable(each['path'])}: {_noun(each['there'])} where {_noun(each['wanted'])} goes"
            for each in told["conflicts"]
        ]
        _list(lines, "of another type, would be kept aside", BUSY, told["conflicts_count"])


def _noun(letter: str) -> str:
    return {"f": "a file", "d": "a directory", "l": "a symbolic link", "p": "a fifo", "s": "a socket"}.get(
        letter, "a device"
    )


def render_plans(told: Mapping[str, Any], where: str) -> None:
    """The dry run of a restore of several sources."""
    rows = [
        [
            row["address"],
            local_time(parse_time(row["at"], 0), 6),
            f"{row['plan']['files']:,}",
            written(row["plan"]),
            format_about(round(row["plan"]["seconds_estimated"] * 1e6)),
            _place(row),
        ]
        for row in told["sources"]
    ]
    plan = told["plan"]
    about = format_about(round(plan["seconds_estimated"] * 1e6))
    rows.append(["in all", "", f"{plan['files']:,}", written(plan), about, printable(where)])
    table(["SOURCE", "AS OF", "FILES", "BYTES", "ABOUT", "GOES TO"], rows, right=("FILES", "BYTES", "ABOUT"))
    standing(plan.get("standing", {}))
    unreadable(plan["unreadable"])


def _place(row: Mapping[str, Any]) -> str:
    """Where a source of several goes; `host` where that is another machine."""
    host = f"{row['host']}:" if row.get("host") else ""
    return f"{host}{printable(row['plan']['target'])}"


def render_several(told: Mapping[str, Any]) -> None:
    """The answer to a restore of several sources."""
    for row in told["sources"]:
        say(f"{row['address']} to {_place(row)}")
        render(row)
    verified = "verified" if told["verified"] else "NOT VERIFIED"
    tell(
        f"In all {counted(told['files'], 'file')} of {counted(len(told['sources']), 'source')}, "
        f"{format_size(told['bytes'])} in {format_about(round(told['seconds'] * 1e6))}, {verified}",
        GOOD if told["verified"] else BAD,
    )


def render(told: Mapping[str, Any], where: str = "") -> None:
    """The answer to a restore that came to its end; `where`: on which host, if not here."""
    for differs, what in ((False, "could not be restored"), (True, "differ on the disk from what was kept")):
        rows = [f"{printable(row['path'])}: {row['message']}" for row in told["failures"] if row["differs"] is differs]
        _list(rows, what, BAD)
    if told.get("failures_count", 0) > len(told["failures"]):
        say(f"of {told['failures_count']:,} in all, the first were told", BAD)
    shortfalls = [printable(text) for text in told["shortfalls"]]
    short = told.get("shortfalls_count", len(shortfalls))
    _list(shortfalls, "attributes that are not as they were", BUSY, short)
    unreadable(told["plan"]["unreadable"])
    verified = "verified" if told["verified"] else "NOT VERIFIED"
    if told["verified"] and told["read_back"]:
        verified += ", read back"
    if short:
        verified += f", but for {counted(short, 'attribute')}"
    if told.get("kept"):
        verified += f"; {told['kept']:,} of them {'was' if told['kept'] == 1 else 'were'} whole already"
    tell(
        f"Restored {counted(told['files'], 'file')}, {format_size(told['bytes'])}"
        f" in {format_about(round(told['seconds'] * 1e6))}{where} {as_of(point_of(told))}, {verified}",
        GOOD if told["verified"] else BAD,
    )


def unreadable(rows: Sequence[Mapping[str, Any]]) -> None:
    """What is older than the point that was asked for, since its host could not read it."""
    lines = [f"{printable(row['path'])}: {row['reason']} since {row['since']}" for row in rows]
    _list(lines, "could not be read on their host by then: what was read before is what there is", BUSY)


def _list(lines: list[str], what: str, colour: str, count: int | None = None) -> None:
    for line in lines[:LISTED]:
        say(line, colour)
    if lines:
        more = f" (the first {LISTED} are listed)" if len(lines) > LISTED else ""
        say(f"{what}: {count if count is not None else len(lines):,}{more}", colour)
