"""bcsctl token: the tokens by which users and programs speak to a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from bcsctl.node_client import get, post
from bcsctl.once import ask_and_show, output_option
from bcsctl.options import exits
from bcsctl.output import BAD, DIM, GOOD, json_option, local_time, print_json, table, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.model.times import SECOND, parse_duration, parse_time

COLOURS = {"valid": GOOD, "revoked": BAD}


@click.group("token", epilog=exits(4, 5))
def command() -> None:
    """Make, list and revoke tokens. Needs the role admin.

    What a token may do stands in the AccessPolicies, which name it or its user.

    \b
    Example:  bcsctl token create ci --for 90d --output ci.token
    """


@command.command("create", epilog=exits(4))
@click.argument("name")
@click.option("--user", default="", help="Whose it is: AccessPolicies that name the user hold for it too.")
@click.option(
    "--for", "lasting", metavar="DURATION", default="90d", show_default=True, help="How long it holds; or `never`."
)
@output_option
@site_option
@home_option
@json_option
def create(name: str, user: str, lasting: str, output: str | None, home: str | None, as_json: bool) -> None:
    """Make a token, and print it once: nobody can be told it again.

    \b
    Example:  bcsctl token create alice --user alice --for 30d
    """
    seconds = 0 if lasting == "never" else parse_duration(lasting) // SECOND
    at = settings(home)
    body = {"name": name, "user": user, "seconds": seconds}
    ask_and_show(lambda: post(at, "/v1/tokens", body), output, as_json, f"token {name}, for {lasting}")


@command.command("list", epilog=exits(4))
@site_option
@home_option
@json_option
def listed(home: str | None, as_json: bool) -> None:
    """List the tokens there are and were. Their secrets are not kept.

    \b
    Example:  bcsctl token list
    """
    found = get(settings(home), "/v1/tokens")
    if as_json:
        print_json(found)
    else:
        render(found["tokens"])


@command.command("revoke", epilog=exits(4, 5))
@click.argument("name")
@site_option
@home_option
@json_option
def revoke(name: str, home: str | None, as_json: bool) -> None:
    """End a token, by its name or id, at once.

    \b
    Example:  bcsctl token revoke ci
    """
    ended = post(settings(home), "/v1/tokens/revoke", {"which": name})
    if as_json:
        print_json(ended)
    else:
        for one in ended["revoked"]:
            tell(f"revoked {one['name']} ({one['id']})")


def render(found: Sequence[Mapping[str, Any]]) -> None:
    """A table, the oldest first."""
    if not found:
        tell("there are no tokens")
        return
    rows = [
        [
            one["name"],
            one["user"] or "-",
            (one["state"], COLOURS.get(one["state"], DIM)),
            *(local_time(parse_time(one[name], 0) if one[name] else None) for name in ("created_at", "expires_at")),
            one["by"],
            one["id"],
        ]
        for one in found
    ]
    table(["NAME", "USER", "STATE", "CREATED", "EXPIRES", "BY", "ID"], rows)
