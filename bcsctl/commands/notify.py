"""bcsctl notify: who is told of what, what stands, and test messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from bcsctl.node_client import get, post
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, GOOD, json_option, local_time, print_json, printable, table, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from bcsctl.status_view import moment


@click.group("notify", epilog=exits(4, 5))
def command() -> None:
    """List what the site's Notifications tell of, and send test messages.

    Who hears of what stands in the policies, as documents of kind Notification.

    \b
    Example:  bcsctl notify test on-call
    """


@command.command("test", epilog=exits(4, 5))
@click.argument("name", required=False)
@site_option
@home_option
@json_option
def test(name: str | None, home: str | None, as_json: bool) -> int:
    """Send a test message to each target of the notification NAME, or of all. Needs the role operator.

    Each is tried once, from the node, where real messages come from too. Exit 1 if one did not arrive.

    \b
    Example:  bcsctl notify test
              bcsctl notify test on-call --json
    """
    results = post(settings(home), "/v1/notifications/test", {"name": name or ""})["results"]
    if as_json:
        print_json({"results": results})
    else:
        render_test(results)
    return 0 if all(each["delivered"] for each in results) else 1


@command.command("list", epilog=exits(4))
@site_option
@home_option
@json_option
def listed(home: str | None, as_json: bool) -> None:
    """List what is the matter now, who is told of what, and messages that wait to be sent.

    \b
    Example:  bcsctl notify list
    """
    found = get(settings(home), "/v1/notifications")
    if as_json:
        print_json(found)
    else:
        render_list(found)


def render_test(results: Sequence[Mapping[str, Any]]) -> None:
    """The answer, then a line a target."""
    failed = [each for each in results if not each["delivered"]]
    if failed:
        tell(f"{len(failed)} of {len(results)} test messages did not arrive", BAD)
    else:
        tell("The test message arrived" if len(results) == 1 else f"All {len(results)} test messages arrived", GOOD)
    for each in results:
        said = "delivered" if each["delivered"] else each["error"]
        colour = GOOD if each["delivered"] else BAD
        tell(printable(f"  {each['notification']}: {each['type']} {each['to']}: {said}"), colour)


def render_list(found: Mapping[str, Any]) -> None:
    """What is the matter, the notifications, what waits."""
    alerts = found["alerts"]
    if not alerts:
        tell("Nothing is the matter", GOOD)
    for each in alerts:
        told = f"told {local_time(moment(each['told_at']))}" if each["told_at"] else "not told yet"
        tell(printable(f"{each['event']}: {each['subject']}: {each['text']} ({told})"), BAD)
    tell()
    if not found["notifications"]:
        tell("nobody is told: no applied policy is a Notification")
        return
    rows = [[rule["name"], _targets(rule["to"]), ", ".join(rule["on"])] for rule in found["notifications"]]
    table(["NOTIFICATION", "TO", "ON"], rows)
    for each in found["waiting"]:
        since = local_time(moment(each["since"]))
        what = f"{each['notification']}: {each['type']} {each['to']}"
        tell(printable(f"{what}: {each['notices']} notices wait since {since}"), BUSY)


def _targets(targets: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(each["to"] for each in targets)
