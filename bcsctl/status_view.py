"""A status for the eye: the answer first, then a table a group or one of hosts, and what needs words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bcsctl.output import BAD, BOLD, BUSY, DIM, GOOD, local_time, painted, printable, table_lines
from engine.model.counts import counted
from engine.model.times import SECOND, SKEW_TOLD, format_about, format_size, parse_time
from engine.node.monitoring.hosts import STATES
from engine.node.monitoring.status import GRACE, SAFE
from engine.node.monitoring.summary import WORDS, answer, host_of
from engine.plan.drills import FAILED, NONE, UNPROVEN

COLOURS = {
    "synced": GOOD,
    "drifted": BUSY,
    "healthy": GOOD,
    "silent": BAD,
    "failing": BAD,
    "never-seen": BAD,
    "refused": BAD,
    "unknown": BUSY,
    "protected": GOOD,
    "catching-up": BUSY,
    "lagging": BAD,
    "unprotected": BAD,
    "unproven": BUSY,
}
UNREADABLE_SHOWN = 5
"""So many paths that can't be read are listed for the eye; --json has more."""

_OF_THE_AGENT = ("refused", "never-seen", "silent")

Said = list[tuple[str, str | None]]


def lines(found: Mapping[str, Any], *, hosts: bool = False, traffic: bool = False, said: str = "") -> list[str]:
    """The lines of a status; `hosts` shows those instead of the groups, `traffic` what sources move. `said` is the
    answer, where the status holds only a part of what that is about."""
    if not found["groups"] and not said and not (hosts and found.get("hosts")):
        return ["nothing is protected yet: see `bcsctl apply`"]
    rows = [row for group in found["groups"] for row in group["sources"]]
    drawn = [painted(said or answer(found["groups"], local_time), _mood(rows))]
    drawn += [painted(f"But {each['address']} is {each['danger']}", BAD) for each in found.get("unguarded") or []]
    drawn.append("")
    if hosts:
        return drawn + host_lines(found.get("hosts") or [])
    if traffic:
        return drawn + traffic_lines(rows)
    for number, group in enumerate(found["groups"]):
        drawn += [""] * bool(number) + [painted(group["name"], BOLD)] + source_lines(group["sources"])
        drawn += [painted(f"  {text}", colour) for text, colour in of_agents(group["sources"])]
        drawn += [painted(printable(f"  {text}"), colour) for text, colour in of_drills(group.get("drill"))]
        for row in group["sources"]:
            drawn += [painted(printable(f"  {row['address']}: {text}"), colour) for text, colour in remarks(row)]
    return drawn + [painted(printable(text), colour) for text, colour in of_clocks(found.get("hosts") or [])]


def source_lines(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row a source, on its three axes."""
    titles = ["SOURCE", "SYNCED", "HEALTHY", "PROTECTED", "LAST CHANGE", "POINT", "LAG", "RPO", "GAPS", "PENDING"]
    rows = [
        [
            row["address"],
            *((row[axis], COLOURS.get(row[axis], "")) for axis in ("synced", "healthy", "protected")),
            local_time(moment(row["last_change_at"])),
            row["point"] or "-",
            lag(row),
            seconds(row["rpo_target_seconds"]),
            (gaps(row), BUSY if row["gaps"] else None),
            "-" if row["healthy"] == "unknown" else str(row["pending"]),
        ]
        for row in sources
    ]
    return table_lines(titles, rows, right=("GAPS", "PENDING", "LAG", "RPO"))


def gaps(row: Mapping[str, Any]) -> str:
    """`1`, or `1 (8 beside)` where others lie beside the history, as `points --beside` lists them."""
    return f"{row['gaps']} ({row['gaps_beside']} beside)" if row.get("gaps_beside") else str(row["gaps"])


def traffic_lines(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row a source: what its agent read and found changed, what it sent, and what that took in the journal."""
    titles = ("READ", "CHANGED", "SENT", "STORED")
    rows = [
        [row["address"], *(format_size(row.get(f"bytes_{title.lower()}") or 0) for title in titles)] for row in sources
    ]
    return table_lines(["SOURCE", *titles], rows, right=titles)


def host_lines(hosts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row a host: the agent on it, how it is and since when, its clock, its sources, its certificate."""
    if not hosts:
        return ["no host is known"]
    titles = ["HOST", "AGENT", "STATE", "SINCE", "HEARD", "CLOCK", "PROTECTED", "CERTIFICATE UNTIL"]
    rows = [
        [
            row["host"],
            row["version"] or "-",
            (row["state"], COLOURS.get(row["state"], "")),
            local_time(moment(row["since"])),
            local_time(moment(row["heard_at"])),
            skew(row["clock_skew_seconds"]),
            "-" if row["state"] == "unknown" else f"{row['sources_protected']} of {row['sources']}",
            certificate(row["certificate"]),
        ]
        for row in sorted(hosts, key=lambda row: row["host"])
    ]
    counts = {state: sum(row["state"] == state for row in hosts) for state in STATES}
    total = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    drawn = [*table_lines(titles, rows, right=("CLOCK", "PROTECTED")), "", f"{counted(len(hosts), 'host')}: {total}"]
    return drawn + [painted(text, colour) for text, colour in of_clocks(hosts)]


def of_clocks(hosts: Sequence[Mapping[str, Any]]) -> Said:
    """A line for each host whose clock is off by more than anyone should live with."""
    off = [row for row in hosts if abs(row.get("clock_skew_seconds") or 0) * SECOND > SKEW_TOLD]
    return [
        (
            f"{row['host']}: its clock is {format_about(round(abs(row['clock_skew_seconds']) * SECOND))} "
            f"{'ahead of' if row['clock_skew_seconds'] > 0 else 'behind'} the site's: is its time service running?",
            BUSY,
        )
        for row in off
    ]


def of_drills(told: Mapping[str, Any] | None) -> Said:
    """A line on the last drill of a group, and on what drills make of it; none where nothing is to be said."""
    if told is None or (told["state"] == NONE and told["last"] is None):
        return []
    said: Said = []
    last = told["last"]
    if last is not None:
        how = "passed" if last["passed"] else "failed"
        of = [f"{name.upper()} {seconds(last[f'{name}_seconds'])}" for name in ("rto", "rpo")]
        text = f"last drill: {how} {local_time(moment(last['at']))}, {', '.join(of)}"
        said.append((text, DIM if last["passed"] else BAD))
    if told["running"]:
        said.append(("a drill runs now", DIM))
    if told["state"] in UNPROVEN:
        said.append((f"unproven: {told['reason']}", BAD if told["state"] == FAILED else BUSY))
    return said


def of_agents(rows: Sequence[Mapping[str, Any]]) -> Said:
    """A line for each host whose agent is the matter, however many sources it has."""
    said: dict[str, str] = {}
    for row in rows:
        if row.get("condition") in _OF_THE_AGENT:
            since = f" since {local_time(moment(row['since']))}" if row.get("since") else ""
            said.setdefault(host_of(row), f"{host_of(row)}: {WORDS[row['condition']]}{since}")
    return [(text, BAD) for text in said.values()]


def lag(row: Mapping[str, Any]) -> tuple[str, str | None]:
    """How far the data is behind, red beyond the objective."""
    if row["lag_seconds"] is None:
        return "-", None
    late = row["lag_seconds"] > row["rpo_target_seconds"] + GRACE / SECOND
    return seconds(row["lag_seconds"]), BAD if late else None


def remarks(row: Mapping[str, Any]) -> Said:
    """What a row of the table can't say."""
    said: Said = []
    baseline = row.get("baseline") or {}
    if not baseline.get("done") and (baseline.get("files") or row["state"] == "baseline"):
        said.append((f"baseline: {amounts(baseline)}", BUSY))
    if row.get("gap_open_since"):
        why = row.get("gap_open_reason")
        because = f" ({why})" if why and why != row.get("message") else ""
        said.append((f"a gap is open since {local_time(moment(row['gap_open_since']))}{because}", BAD))
    if row.get("pending_big_files"):
        said.append((f"big files wait to be read: {waiting_big(row)}", BUSY))
    if row.get("unreadable"):
        said += unreadable(row)
    if row.get("message"):
        said.append((str(row["message"]), BUSY))
    if row.get("costs") and row["healthy"] == "healthy":  # else something worse is the matter
        said.append((str(row["costs"]), DIM))
    return said


def unreadable(row: Mapping[str, Any]) -> Said:
    """What the agent can't read is not protected: how many, and the first of them by path."""
    count, paths = row["unreadable"], (row.get("unreadable_paths") or [])[:UNREADABLE_SHOWN]
    head = "1 path can't be read and is" if count == 1 else f"{count:,} paths can't be read and are"
    said: Said = [(f"{head} not protected{':' if paths else ''}", BAD)]
    said += [(f"  {path['path']} ({path['reason']})", BAD) for path in paths]
    if paths and count > len(paths):
        said.append((f"  and {count - len(paths):,} more", BAD))
    return said


def waiting_big(row: Mapping[str, Any]) -> str:
    """`2, 3.0 GiB`: their changes are known, and not yet where in them."""
    return f"{row['pending_big_files']:,}, {format_size(row.get('pending_big_bytes') or 0)}"


def amounts(baseline: Mapping[str, Any]) -> str:
    """`1,234 of 20,000 files, 5.0 MiB of 1.2 GiB`."""
    files, size = counted(baseline.get("files", 0), "file"), format_size(baseline.get("bytes", 0))
    if baseline.get("files_total"):
        files = f"{baseline.get('files', 0):,} of {counted(baseline['files_total'], 'file')}"
    if baseline.get("bytes_total"):
        size += f" of {format_size(baseline['bytes_total'])}"
    return f"{files}, {size}"


def skew(value: float | None) -> tuple[str, str | None]:
    """How far a host's own clock is ahead of the site's, or behind; a second and more is worth a look."""
    if value is None:
        return "-", None
    sign = "-" if value < 0 else "+"
    return f"{sign}{format_about(round(abs(value) * 1e6))}", BUSY if abs(value) >= 1 else None


def certificate(value: Mapping[str, Any] | None) -> tuple[str, str | None]:
    if value is None:
        return "-", None
    if value["revoked_at"]:
        return f"revoked {local_time(moment(value['revoked_at']))}", BAD
    return local_time(moment(value["not_after"])), None


def moment(text: str | None) -> int | None:
    """A time of a JSON answer in microseconds."""
    return parse_time(text, 0) if text else None


def seconds(value: float | None) -> str:
    """A number of seconds for the eye."""
    return "-" if value is None else format_about(round(value * 1e6))


def _mood(rows: Sequence[Mapping[str, Any]]) -> str:
    if all(row["protected"] == "protected" for row in rows):
        return GOOD
    return BUSY if all(row["protected"] in (*SAFE, "catching-up") for row in rows) else BAD
