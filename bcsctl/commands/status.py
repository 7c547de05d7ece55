"""bcsctl status: every source on its three axes, which are never mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from bcsctl.node_client import START_HINT, get
from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import BAD, BOLD, BUSY, DIM, GOOD, json_option, local_time, print_json, say, table, tell
from bcsctl.settings import Settings, home_option, settings
from engine.env.clock import SYSTEM
from engine.model.errors import NothingThere, Unreachable
from engine.model.times import format_about, format_size, parse_time

COLOURS = {
    "synced": GOOD,
    "drifted": BUSY,
    "healthy": GOOD,
    "silent": BAD,
    "failing": BAD,
    "never-seen": BAD,
    "unknown": BUSY,
    "protected": GOOD,
    "catching-up": BUSY,
    "unprotected": BAD,
    "unproven": BUSY,
}
UNREADABLE_SHOWN = 5
"""So many paths that can't be read are listed for the eye; --json has more."""


@click.command("status", epilog=exits(5))
@click.argument("group", required=False)
@click.option("--watch", type=click.FloatRange(min=0.2), metavar="SECONDS", help="Show it again and again.")
@home_option
@json_option
def command(group: str | None, watch: float | None, home: str | None, as_json: bool) -> None:
    """Show every source on three axes: policy (synced), agent (healthy), data (protected).

    Works with the node down too, from the journal; then nobody knows how the agents are.

    \b
    Example:  bcsctl status
              bcsctl status finance --json
    """
    at = settings(home)
    if watch and as_json:
        raise click.UsageError("--watch draws for the eye: leave out --json, and ask again yourself")
    while True:
        found = site(at, group)
        if as_json:
            print_json(found)
            return
        if watch:
            click.clear()
        render(found)
        if not watch:
            return
        SYSTEM.sleep(watch)


def site(at: Settings, group: str | None = None) -> dict[str, Any]:
    """The status of the node, or of the journal when the node is down; of one group or of all."""
    try:
        found = get(at, "/v1/status")
    except Unreachable:
        from engine.node.offline import status_of

        found = status_of(journal(at), SYSTEM.now())
    if group is not None:
        names = [one["name"] for one in found["groups"]]
        if group not in names:
            known = f"groups are {', '.join(names)}" if names else "nothing is protected yet: see `bcsctl apply`"
            raise NothingThere(f"there is no group '{group}'", hint=known)
        found["groups"] = [one for one in found["groups"] if one["name"] == group]
    return found


def render(found: Mapping[str, Any]) -> None:
    """A table a group, and what needs words below it."""
    if found.get("node") is None:
        say(START_HINT, BUSY)
    if not found["groups"]:
        tell("nothing is protected yet: see `bcsctl apply`")
    for number, group in enumerate(found["groups"]):
        if number:
            tell()
        tell(group["name"], BOLD)
        _table(group["sources"])
        for row in group["sources"]:
            for text, colour in remarks(row):
                tell(f"  {row['address']}: {text}", colour)


def _table(sources: Sequence[Mapping[str, Any]]) -> None:
    titles = ["SOURCE", "SYNCED", "HEALTHY", "PROTECTED", "LAST CHANGE", "POINT", "LAG", "RPO", "GAPS", "PENDING"]
    rows = [
        [
            row["address"],
            *((row[axis], COLOURS.get(row[axis], "")) for axis in ("synced", "healthy", "protected")),
            local_time(moment(row["last_change_at"])),
            row["point"] or "-",
            lag(row),
            seconds(row["rpo_target_seconds"]),
            (str(row["gaps"]), BUSY if row["gaps"] else None),
            str(row["pending"]),
        ]
        for row in sources
    ]
    table(titles, rows, right=("GAPS", "PENDING", "LAG", "RPO"))


def lag(row: Mapping[str, Any]) -> tuple[str, str | None]:
    """How far the data is behind, red beyond the objective."""
    if row["lag_seconds"] is None:
        return "-", None
    late = row["lag_seconds"] > row["rpo_target_seconds"] + 2
    return seconds(row["lag_seconds"]), BAD if late else None


def remarks(row: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """What a row of the table can't say."""
    said: list[tuple[str, str | None]] = []
    baseline = row.get("baseline") or {}
    if not baseline.get("done") and (baseline.get("files") or row["state"] == "baseline"):
        said.append((f"baseline: {amounts(baseline)}", BUSY))
    if row.get("gap_open_since"):
        said.append((f"a gap is open since {local_time(moment(row['gap_open_since']))}", BAD))
    if row.get("unreadable"):
        said += unreadable(row)
    if row.get("message"):
        said.append((str(row["message"]), BUSY))
    if row.get("costs"):
        said.append((str(row["costs"]), DIM))
    return said


def unreadable(row: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """What the agent can't read is not protected: how many, and the first of them by path."""
    count, paths = row["unreadable"], (row.get("unreadable_paths") or [])[:UNREADABLE_SHOWN]
    head = "1 path can't be read and is" if count == 1 else f"{count:,} paths can't be read and are"
    said: list[tuple[str, str | None]] = [(f"{head} not protected{':' if paths else ''}", BAD)]
    said += [(f"  {path['path']} ({path['reason']})", BAD) for path in paths]
    if paths and count > len(paths):
        said.append((f"  and {count - len(paths):,} more", BAD))
    return said


def amounts(baseline: Mapping[str, Any]) -> str:
    """`1,234 of 20,000 files, 5.0 MiB of 1.2 GiB`."""
    files, size = f"{baseline.get('files', 0):,}", format_size(baseline.get("bytes", 0))
    if baseline.get("files_total"):
        files += f" of {baseline['files_total']:,}"
    if baseline.get("bytes_total"):
        size += f" of {format_size(baseline['bytes_total'])}"
    return f"{files} files, {size}"


def moment(text: str | None) -> int | None:
    """A time of a JSON answer in microseconds."""
    return parse_time(text, 0) if text else None


def seconds(value: float | None) -> str:
    """A number of seconds for the eye."""
    return "-" if value is None else format_about(round(value * 1e6))
