"""What is in scratch on hosts: listed, compared, promoted, discarded by their agents, as the node asks them to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from bcsctl.node_client import get, post
from bcsctl.output import BAD, BUSY, GOOD, print_json, printable, say, tell
from bcsctl.restoring import remote
from bcsctl.restoring.fitting import BY_HAND
from bcsctl.settings import Settings
from engine.model.errors import NotAuthorised, Unreachable, UsageError
from engine.wire.errands import CHECK, DISCARD, PROMOTE

FAILED_CHECK = 6


def rows(where: Settings) -> list[dict[str, Any]]:
    """What the hosts that the node hears have; nothing where no node of this machine runs."""
    try:
        return list(get(where, "/v1/scratches")["scratches"])
    except (Unreachable, NotAuthorised):
        if where.site is not None:
            raise
        return []


def is_there(where: Settings, id: str) -> bool:
    """Whether an id is one on a host."""
    return where.site is not None or any(id and row["id"].startswith(id) for row in rows(where))


def check(where: Settings, id: str, commands: tuple[str, ...], as_json: bool) -> int:
    """Have it compared with what was kept."""
    if commands:
        raise UsageError("no command is run on a host over the network", hint=BY_HAND)
    told = _done(where, id, CHECK, {}, as_json)
    checked = told["checked"]
    if as_json:
        print_json({"host": told["host"], "scratch": told["scratch"], "checked": checked})
        return 0 if checked["passed"] else FAILED_CHECK
    for each in checked["checks"]:
        said = printable(each.get("output", ""))
        tell(f"scratch {told['scratch']['id']} on {told['host']}: {said}", BAD if each["code"] else GOOD)
    for change in checked["changes"]:
        say(f"{printable(change['path'])}: {change['what']}", BAD)
    return 0 if checked["passed"] else FAILED_CHECK


def promote(where: Settings, id: str, to: str | None, how: Mapping[str, bool], as_json: bool) -> int:
    """Have it put in its place on its host."""
    if to is not None and not to.startswith("/"):
        raise UsageError(f"'{to}' is not an absolute path", hint="on a host write the whole path")
    told = _done(where, id, PROMOTE, {**how, **({"to": to} if to else {})}, as_json)
    if as_json:
        checks = told["scratch"]["checks"]
        print_json(
            {"host": told["host"], "scratch": told["scratch"]["id"], "moves": told["moves"], "checks": checks,
             "recorded": True}
        )  # fmt: skip
        return 0
    for move in told["moves"]:
        place = f"{told['host']}:{printable(move['to'])}"
        if move.get("though"):
            tell(f"{place} is scratch {told['scratch']['id']}, taken as it is though {move['though']}", BUSY)
        else:
            tell(f"{place} is what was kept as scratch {told['scratch']['id']}", GOOD)
        if move["aside"]:
            tell(f"what stood there is kept aside: {printable(move['aside'])}")
    return 0


def discard(where: Settings, id: str, as_json: bool) -> int:
    """Have it removed."""
    told = _done(where, id, DISCARD, {}, as_json)
    scratch = told["scratch"]
    if as_json:
        gone = {"discarded": scratch["id"], "host": told["host"], "target": scratch["tree"], "files_stay": False}
        print_json({**gone, "recorded": True})
    else:
        tell(f"scratch {scratch['id']} on {told['host']} is gone")
    return 0


def _done(where: Settings, id: str, way: str, body: Mapping[str, Any], as_json: bool) -> dict[str, Any]:
    from engine.recovery.acts import who_acts

    who = who_acts()
    opened = post(where, f"/v1/scratches/{quote(id, safe='')}/{way}", {**body, "who": who})
    tree = os.fsencode(opened["tree"])
    asked = remote.Asked(opened["address"], None, "", opened["host"], tree, False, who, way=way)
    return {"host": opened["host"], **remote.seen_through(where.endpoint, opened, asked, as_json)}
