"""bcsctl certificate: hosts' certificates of a site, and the tokens by which hosts get their first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from bcsctl.node_client import get, post
from bcsctl.once import ask_and_show, output_option
from bcsctl.options import exits
from bcsctl.output import BAD, BUSY, GOOD, json_option, local_time, print_json, say, table, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.env.clock import SYSTEM
from engine.model.times import SECOND, parse_duration


@click.group("certificate", epilog=exits(4, 5))
def command() -> None:
    """List and revoke hosts' certificates, and enrol hosts by hand. Needs the role admin.

    `bcsctl apply` enrols the hosts that it deploys agents to.

    \b
    Example:  bcsctl certificate revoke sf-db1
    """


@command.command("list", epilog=exits(4))
@site_option
@home_option
@json_option
def listed(home: str | None, as_json: bool) -> None:
    """List the newest certificate of every host.

    \b
    Example:  bcsctl certificate list
    """
    found = get(settings(home), "/v1/certificates")
    if as_json:
        print_json(found)
    else:
        render(found["certificates"])


def _ended(not_after: int | None) -> bool:
    return not_after is not None and not_after <= SYSTEM.now()


@command.command("revoke", epilog=exits(4, 5))
@click.argument("host")
@site_option
@home_option
@json_option
def revoke(host: str, home: str | None, as_json: bool) -> None:
    """Refuse everything that was issued to HOST until now, from the next request on.

    \b
    Example:  bcsctl certificate revoke sf-db1
    """
    ended = post(settings(home), "/v1/certificates/revoke", {"host": host})
    if as_json:
        print_json(ended)
    else:
        tell(f"revoked what {host} had; `bcsctl apply --readmit {host}` lets it in again")
        if not ended.get("known", True):
            say(f"but no host {host} is known there: is that its name? `bcsctl certificate list` has them all", BUSY)


@command.command("enrol", epilog=exits(4))
@click.argument("host")
@click.option("--for", "lasting", metavar="DURATION", default="1h", show_default=True, help="How long it may be used.")
@output_option
@site_option
@home_option
@json_option
def enrol(host: str, lasting: str, output: str | None, home: str | None, as_json: bool) -> None:
    """Make a token by which HOST gets its certificate, once. It belongs into identity/enrolment of the agent's home.

    \b
    Example:  bcsctl certificate enrol sf-db1 --output enrolment
    """
    at = settings(home)
    body = {"host": host, "seconds": max(1, parse_duration(lasting) // SECOND)}
    made = ask_and_show(
        lambda: post(at, "/v1/enrolments", body), output, as_json, f"for {host}, once, within {lasting}"
    )
    if not as_json and not made.get("known", True):
        say(f"no policy names a host {host} yet: is that its name? Without one it will be enrolled and idle", BUSY)


def render(found: Sequence[Mapping[str, Any]]) -> None:
    """A table by host."""
    if not found:
        tell("no host has a certificate")
        return
    rows = [
        [
            one["host"],
            ("revoked", BAD) if one["revoked"] else ("ended", BAD) if _ended(one["not_after"]) else ("valid", GOOD),
            local_time(one["not_before"]),
            local_time(one["not_after"]),
            local_time(one["heard_at"]),
            one["serial"] or "-",
        ]
        for one in found
    ]
    table(["HOST", "STATE", "FROM", "UNTIL", "HEARD", "SERIAL"], rows)
