"""An agent's state for the eye. Pure: words and colours; who prints them decides whether there are colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.model.counts import counted
from engine.model.times import SECOND, SKEW_TOLD, format_about, format_size

GOOD, BUSY, BAD, BOLD, DIM = "green", "yellow", "red", "bold", "bright_black"
STATES = {"protected": GOOD, "baseline": BUSY, "catching-up": BUSY, "opening": BUSY, "failed": BAD}
Paint = Callable[[str, str | None], str]
"""A text and its colour, None for none, as it is written."""


def lines(state: Mapping[str, Any], paint: Paint) -> list[str]:
    """The host first, then a row a source, then what needs attention."""
    drawn = [_label(name, text, paint) for name, text in _of_host(state, paint)]
    if state["sources"]:
        drawn += ["", *_table(state["sources"], paint)]
    else:
        drawn += ["", "nothing on this host is protected"]
    told = state["attention"]
    drawn += ["", *(paint(printable(text), BAD) for text in told)] if told else ["", paint("all is well", GOOD)]
    return drawn


def _of_host(state: Mapping[str, Any], paint: Paint) -> list[tuple[str, str]]:
    use, node, now = state["usage"], state["node"], state["at"]
    process = f"pid {state['pid']} since {local(state['started_at'])}"
    process += f", {format_size(use['memory_bytes'])} of memory, {use['cpu_seconds']:.1f} s of processor time"
    heard = f"hears this host, {ago(node['heard_at'], now)}" if node["heard_at"] else "has not heard this host yet"
    if node["message"]:
        heard = paint(f"{printable(node['message'])}; heard {ago(node['heard_at'], now)}", BAD)
    rows = [
        ("host", printable(state["host"])),
        ("agent", f"{state['version'] or 'unknown version'}, {process}"),
        ("node", heard),
        ("clock", _skew(state["clock_skew"], paint)),
    ]
    if state["certificate"] is not None:
        ends = state["certificate"]["not_after"]
        until = f"until {local(ends)}" if ends else "none"
        rows.append(("certificate", paint(until, GOOD if ends > now else BAD)))
    rows.append(("spool", f"{format_size(use['spool_bytes'])} of {format_size(use['spool_limit_bytes'])}"))
    rows.append(("bandwidth", _bandwidth(use)))
    return rows


def _bandwidth(use: Mapping[str, Any]) -> str:
    rate, baseline = use["bandwidth"], use["baseline_bandwidth"]
    told = f"{format_size(rate)}/s now" if rate else "no bound now"
    return told + (f", baselines {format_size(baseline)}/s" if baseline else "")


def _skew(skew: int | None, paint: Paint) -> str:
    if skew is None:
        return "not measured yet"
    how = "ahead of" if skew > 0 else "behind"
    told = f"{format_about(abs(skew))} {how} the site's" if abs(skew) >= 1000 else "as the site's"
    return paint(told, BAD if abs(skew) > SKEW_TOLD else None)


TITLES = ("SOURCE", "STATE", "WATCH", "RANGES", "COMPLETE UP TO", "LAG", "PENDING", "SPOOL", "CHANGED", "SENT")
RIGHT = ("LAG", "PENDING", "SPOOL", "CHANGED", "SENT")


def _table(sources: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    rows: list[list[tuple[str, str | None]]] = [
        [
            (printable(row["address"]), None),
            (row["state"], STATES.get(row["state"], BUSY)),
            (row.get("mechanism") or "-", None),
            (row.get("ranges") or "-", None),
            (local(row.get("through_at") or 0), None),
            (format_about(row["lag"]) if row["lag"] is not None else "-", None),
            (f"{row.get('pending', 0):,}", None),
            (format_size(row.get("spool_bytes", 0)), None),
            (format_size(row.get("bytes_changed", 0)), None),
            (format_size(row.get("bytes_sent", 0)), None),
        ]
        for row in sources
    ]
    widths = [max(len(title), *(len(row[at][0]) for row in rows)) for at, title in enumerate(TITLES)]
    drawn = []
    titles: list[tuple[str, str | None]] = [(title, BOLD) for title in TITLES]
    for line in [titles, *rows]:
        cells = []
        for at, (text, colour) in enumerate(line):
            space = " " * (widths[at] - len(text))
            cells.append(space + paint(text, colour) if TITLES[at] in RIGHT else paint(text, colour) + space)
        drawn.append("  ".join(cells).rstrip())
    for row in sources:
        drawn += [paint(printable(f"  {row['address']}: {text}"), DIM) for text in _notes(row)]
    return drawn


def _notes(row: Mapping[str, Any]) -> list[str]:
    """What a source is and costs: no alarm."""
    notes = [f"protects {', '.join(row.get('paths') or ())}"] if row.get("paths") else []
    if row["state"] == "baseline":
        baseline = row.get("baseline") or {}
        notes.append(
            f"baseline: {counted(baseline.get('files', 0), 'file')}, {format_size(baseline.get('bytes', 0))} so far"
        )
    if row.get("pending_big_files"):
        big = format_size(row.get("pending_big_bytes", 0))
        count = row["pending_big_files"]
        notes.append(f"{counted(count, 'big file')} {'waits' if count == 1 else 'wait'} to be read, {big}")
    return [*notes, *filter(None, [row.get("costs")])]


def _label(name: str, text: str, paint: Paint) -> str:
    return paint(f"{name:<12}", BOLD) + text


def ago(at: int, now: int) -> str:
    """How long ago; `never` for 0."""
    return f"{format_about(max(0, now - at))} ago" if at else "never"


def local(at: int) -> str:
    """A time for the eye, with its zone's offset; `-` for 0."""
    return datetime.fromtimestamp(at / SECOND).astimezone().strftime("%Y-%m-%d %H:%M:%S %z") if at else "-"


def printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
