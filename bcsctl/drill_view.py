"""A drill for whoever reads: the answer first, then its checks in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bcsctl.output import BAD, DIM, GOOD, local_time, printable, table, tell
from engine.model.counts import counted
from engine.model.times import format_about, format_size, parse_time

_OUTPUT_LINES = 10
_DONE = {"cancel": "cancelled", "fill": "filled", "verify": "filled and read back"}


def told_of(drills: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One answer for all drills that were made: {passed, checks, rto_seconds, rpo_seconds, …, drills}. Where there was
    one, its other fields too."""
    worst = {
        name: max((each[name] for each in drills if each[name] is not None), default=None)
        for name in ("rto_seconds", "rpo_seconds")
    }
    if any(each["rto_seconds"] is None for each in drills):
        worst["rto_seconds"] = None  # of one not everything came back
    first = drills[0]
    told = {
        "group": first["group"],
        "passed": all(each["passed"] for each in drills),
        "reason": "; ".join(each["reason"] for each in drills if each["reason"]),
        **worst,
        "rto_target_seconds": first["rto_target_seconds"],
        "rpo_target_seconds": first["rpo_target_seconds"],
        "checks": [check for each in drills for check in each["checks"]],
        "recorded": all(each["recorded"] for each in drills),
    }
    return ({**first, **told} if len(drills) == 1 else told) | {"drills": list(drills)}


def render(told: Mapping[str, Any]) -> None:
    """The answer, then each drill: what came back, the checks, what failed commands wrote."""
    tell(printable(answer(told)), GOOD if told["passed"] else BAD)
    for drill in told["drills"]:
        tell()
        _render(drill)


def answer(told: Mapping[str, Any]) -> str:
    """`finance passed its drill: RTO 1.2 s (objective 2 m), RPO 340 ms (objective 5 s)`."""
    count = len(told["drills"])
    what = "its drill" if count == 1 else f"its {count} drills"
    measured = ", ".join(_objective(name, told) for name in ("rto", "rpo"))
    if told["passed"]:
        return f"{told['group']} passed {what}: {measured}"
    failed = sum(not each["passed"] for each in told["drills"])
    some = what if failed == count else f"{failed} of {what}"
    return f"{told['group']} FAILED {some}: {told['reason']}; {measured}"


def _objective(name: str, told: Mapping[str, Any]) -> str:
    measured, target = told[f"{name}_seconds"], told[f"{name}_target_seconds"]
    text = f"{name.upper()} {_about(measured)}"
    return text + (f" (objective {_about(target)})" if target is not None else "")


def _about(seconds: float | None) -> str:
    return "not known" if seconds is None else format_about(round(seconds * 1e6))


def _render(drill: Mapping[str, Any]) -> None:
    sources, place = drill["sources"], drill["where"]
    as_of = f" as of {local_time(parse_time(drill['moment'], 0), 6)}" if drill["moment"] else f" at {drill['asked']}"
    took = format_about(round(drill["seconds"] * 1e6))
    size = f"{counted(drill['files'], 'file')}, {format_size(drill['bytes'])}"
    tell(f"drill {drill['id']}{as_of}: {size} on {place['host']} in {took}{_cold(drill.get('on_demand'))}", DIM)
    for each in sources:
        at = local_time(parse_time(each["at"], 0), 6)
        tell(f"{each['address']}: point {each['point']} ({each['class']}) of {at}", DIM)
    rows = [
        [
            check["name"],
            check["address"] or "-",
            _verdict(check["passed"]),
            format_about(round(check["seconds"] * 1e6)) if check["seconds"] else "-",
            f"{check['command']}: {check['message']}" if check.get("command") else check["message"],
        ]
        for check in drill["checks"]
    ]
    table(["CHECK", "SOURCE", "PASSED", "TOOK", "FOUND"], rows)
    for check in drill["checks"]:
        if check["passed"] is False and check.get("command"):
            _render_output(check)


def _cold(told: Mapping[str, Any] | None) -> str:
    """How a drill by on-demand start was made."""
    if not told:
        return ""
    by = f" by {' and '.join(told['mechanisms'])}" if told["mechanisms"] else ""
    usable = f", usable after {_about(told['usable_seconds'])}" if told["usable_seconds"] is not None else ""
    return f", on demand{by}{usable}, then {_DONE[told['afterwards']]}"


def _render_output(check: Mapping[str, Any]) -> None:
    lines = (check.get("output") or "").splitlines()
    where = f" in {check['address']}" if check["address"] else ""
    last = f"wrote, of {len(lines):,} lines the last:" if len(lines) > _OUTPUT_LINES else "wrote:"
    shown = last if lines else "wrote nothing"
    tell(printable(f"{check['command']}{where} {shown}"), BAD)
    for line in lines[-_OUTPUT_LINES:]:
        tell(printable(f"    {line}"))


def _verdict(passed: bool | None) -> tuple[str, str | None]:
    return {True: ("yes", GOOD), False: ("NO", BAD), None: ("-", DIM)}[passed]
