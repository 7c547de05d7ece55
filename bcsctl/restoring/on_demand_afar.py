"""bcsctl restore --on-demand to a host of a site: its agent makes the tree and fills it from the node.

And what `bcsctl recover` asks of such trees: the node has what their hosts say, and passes on what is asked of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bcsctl.entries import damage_is_a_difference
from bcsctl.node_client import get, post, told_how_to_start
from bcsctl.open_gaps import say_unseen
from bcsctl.opening import Named
from bcsctl.output import BUSY, print_json, say
from bcsctl.restoring.on_demand import planned, rate_of, render
from bcsctl.settings import Settings
from engine.env.clock import SYSTEM
from engine.env.endpoint import request_json
from engine.fill.base import CANCELLED, FILLING, FINISHING
from engine.model.errors import BcsError, Failed, NothingThere, Refused, Unreachable, UsageError, VerificationFailed

WAIT_SECONDS = 10.0
RETRY_SECONDS = 0.5
UNHEARD_SECONDS = 15.0
UNSEEN = "nobody has looked there: its agent says when it begins whether it can be done"
OPEN, DONE = "open", "done"
CANCELLING = "cancelling"
_USED = (FILLING, FINISHING, "paused")
_KINDS: dict[str, type[BcsError]] = {
    "refused": Refused, "usage": UsageError, "nothing-there": NothingThere, "damaged": VerificationFailed,
}  # fmt: skip


def on_demand_afar(
    where: Settings,
    wanted: Named,
    at: str,
    host: str,
    folder: str,
    *,
    mechanism: str | None,
    rate: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Have it made, and return when it can be used there."""
    from engine.recovery.acts import who_acts

    how = {"mechanism": mechanism or "", **({} if rate is None else {"rate_bytes": rate_of(rate)})}
    path = None if wanted.path is None else os.fsdecode(wanted.path)
    body: dict[str, Any] = {"address": wanted.address, "path": path, "at": at, "host": host, "dir": folder}
    body["who"] = who_acts()
    body |= {"on_demand": how, "dry_run": dry_run}
    with damage_is_a_difference(), told_how_to_start(where):
        opened = request_json(where.endpoint, "POST", "/v1/restores", body, timeout_seconds=300)
        answer = {"address": wanted.address, **opened}
        say_unseen(wanted.address, opened)
        if dry_run:
            how = {"mechanism": mechanism or "what the host has", "mechanism_why": UNSEEN}
            return planned({**answer, **how, "host": host}, as_json)
        answer.pop("version", None)
        try:
            now = until_used(where, opened["id"], host)
        except KeyboardInterrupt:
            _cancelled(where, opened["id"], body["who"])
            raise
    answer |= told_of(now, answer)
    if as_json:
        print_json(answer)
    else:
        render({**answer, "dir": f"{host}:{answer['dir']}"})
    return 0


def told_of(now: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    recovery = now["recovery"]
    files, count = answer["plan"]["files"], answer["plan"]["bytes"]
    told = {"host": now["host"], "dir": now["dir"], "in_place": now["on_demand"]["own"], "recorded": True}
    ended = now["outcome"] or {}
    return {
        **told,
        "mechanism": recovery.get("mechanism") or ended.get("mechanism", ""),
        "files": recovery.get("files", files),
        "bytes": recovery.get("bytes_total", count),
        "seconds": _seconds(now),
        "lasting": recovery.get("lasting", True),
        "shortfalls": recovery.get("shortfalls") or ended.get("shortfalls", []),
        "epoch": recovery.get("epoch"),
    }


def _seconds(now: Mapping[str, Any]) -> float:
    """From the order to the first word of its host that it can be used."""
    from engine.model.times import parse_time

    opened, heard = now["opened_at"], now["heard_at"] or now["ended_at"]
    return round(max(0, parse_time(heard, 0) - parse_time(opened, 0)) / 1e6, 3) if heard else 0.0


def until_used(where: Settings, id: str, host: str) -> dict[str, Any]:
    """The restore once its tree can be used. Raises what kept it from that."""
    version, heard, told = -1, SYSTEM.monotonic(), False
    while True:
        wait = WAIT_SECONDS if version >= 0 else 0
        target = f"/v1/restores/{id}?version={version}&wait={wait:g}"
        try:
            now = request_json(where.endpoint, "GET", target, timeout_seconds=WAIT_SECONDS + 20)
        except Unreachable as error:
            if not told:
                say(f"{error.message}; it goes on once it is back", BUSY)
            told = True
            SYSTEM.sleep(RETRY_SECONDS)
            continue
        if now["state"] == DONE or (now["state"] == OPEN and now["recovery"].get("state") in _USED):
            return now
        if now["state"] != OPEN:
            raise _why(now, host)
        if now["version"] != version:
            version, heard, told = now["version"], SYSTEM.monotonic(), False
        elif not told and SYSTEM.monotonic() - heard > UNHEARD_SECONDS:
            told = True
            say(f"host {host} has not made it yet; Ctrl-C cancels it", BUSY)


def _why(now: Mapping[str, Any], host: str) -> BcsError:
    told = now["error"].get("error", now["error"])
    message = str(told.get("message") or now["state"])
    kind = _KINDS.get(str(told.get("code")), Failed)
    return kind(f"host {host}: {message}", hint=str(told.get("hint") or ""))


def _cancelled(where: Settings, id: str, who: str) -> None:
    try:
        want(where, id, "cancel", who, cancel=True)
    except BcsError as error:
        say(f"recovery {id} could not be cancelled and may go on: {error.message}", BUSY)


# What `bcsctl recover` asks.


def listed(where: Settings) -> list[dict[str, Any]]:
    """Trees on hosts, the oldest first, as engine.fill.life.shown has them, with `host`. Empty without a node here."""
    if where.site is None and not (where.home / "run" / "node.sock").exists():
        return []
    try:
        found = get(where, "/v1/restores")["restores"]
    except Unreachable:
        if where.site is not None:
            raise
        return []
    return [as_recovery(each) for each in found if each.get("on_demand")]


def find(where: Settings, id: str) -> dict[str, Any] | None:
    """The tree on a host whose id begins so; None when there is none. NothingThere for several."""
    found = [each for each in listed(where) if id and each["id"].startswith(id)]
    if len(found) > 1:
        raise NothingThere(f"several recoveries begin with '{id}'", hint="`bcsctl recover list` shows them")
    return found[0] if found else None


def of_order(where: Settings, id: str) -> list[dict[str, Any]]:
    """The trees on hosts that were ordered together, by the beginning of the order's id. NothingThere for several."""
    found = [each for each in listed(where) if id and str(each["order"] or "").startswith(id)]
    if len({each["order"] for each in found}) > 1:
        raise NothingThere(f"several orders begin with '{id}'", hint="`bcsctl recover list` shows them")
    return found


def look(where: Settings, id: str, seconds: float = 0.0, version: int = -1) -> dict[str, Any]:
    """One of them as it is now, or once there is news."""
    now = request_json(
        where.endpoint, "GET", f"/v1/restores/{quote(id)}?version={version}&wait={seconds:g}", timeout_seconds=40
    )
    return as_recovery(now)


def want(where: Settings, id: str, do: str, who: str, **changes: Any) -> dict[str, Any]:
    """Ask something else of it."""
    return as_recovery(post(where, f"/v1/restores/{quote(id)}/wanted", {**changes, "do": do, "who": who}))


def give_up(where: Settings, id: str, who: str) -> dict[str, Any]:
    """Close it without a word of its host."""
    return as_recovery(post(where, f"/v1/restores/{quote(id)}/forsake", {"who": who}))


def as_recovery(each: Mapping[str, Any]) -> dict[str, Any]:
    """A restore of the node as what `bcsctl recover` shows."""
    told = each["recovery"]
    state = each["state"]
    if state == OPEN:
        word = CANCELLING if each["wanted"].get("cancel") else told.get("state", "waiting")
    else:
        word = {DONE: "ended", CANCELLED: CANCELLED}.get(state, state)
    ended = state == DONE
    total = told.get("bytes_total", 0) or each["outcome"].get("bytes", 0)
    return {
        "id": each["id"],
        "order": each["on_demand"].get("order") or None,
        "host": each["host"],
        "address": each["address"],
        "dir": each["dir"],
        "point": each["point"],
        "at": each["at"],
        "class": each["class"],
        "state": word,
        "mechanism": told.get("mechanism") or each["outcome"].get("mechanism", ""),
        "begun_at": each["opened_at"],
        "files": told.get("files", 0) or each["outcome"].get("files", 0),
        "bytes_filled": total if ended else told.get("bytes_filled", 0),
        "bytes_total": total,
        "files_left": 0 if ended else told.get("files_left", 0),
        "rate_bytes": 0 if state != OPEN else told.get("rate_bytes", 0),
        "seconds_left": 0.0 if state != OPEN else told.get("seconds_left"),
        "waiting": told.get("waiting", 0) if state == OPEN else 0,
        "away": bool(told.get("away")) and state == OPEN,
        "damaged": told.get("damaged", []),
        "holds": told.get("holds", []),
        "written_unguarded": told.get("written_unguarded", []),
        "lasting": told.get("lasting", True),
        "error": _error_of(each) or told.get("error", ""),
        "heard_at": each["heard_at"],
        "version": each["version"],
        "open": state == OPEN,
    }


def _error_of(each: Mapping[str, Any]) -> str:
    told = each["error"].get("error", each["error"]) if each["error"] else {}
    return str(told.get("message") or "")
