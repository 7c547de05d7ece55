"""bcsctl whoami: who a site takes us for, and what that allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from bcsctl.node_client import get
from bcsctl.options import exits
from bcsctl.output import BUSY, json_option, print_json, printable, say, tell
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option


@click.command("whoami", epilog=exits(4))
@site_option
@home_option
@json_option
def command(home: str | None, as_json: bool) -> None:
    """Show who the site takes you for, your roles, and the groups they hold for.

    \b
    Example:  bcsctl whoami --site sf
    """
    at = settings(home)
    found = get(at, "/v1/whoami")
    if at.site is not None:
        from bcsctl.fingerprint import fingerprint

        found |= {"urls": list(at.site.urls), "ca_fingerprint": fingerprint(at.site.ca)}
    if as_json:
        print_json(found)
    else:
        render(found)


def render(found: Mapping[str, Any]) -> None:
    """A line on who, a line a role."""
    by = f"token {found['token']}" if found.get("token") else ""
    name = found["name"] or by or found["kind"]
    tell(printable(f"{name} at site {found['site']}{f', by {by}' if by and name != by else ''}"))
    for role, groups in found["groups_by_role"].items():
        tell(printable(f"  {role}: {', '.join('every group' if glob == '*' else glob for glob in groups)}"))
    if not found["groups_by_role"]:
        say("no AccessPolicy of the site names you: you may do nothing", BUSY)
    if "ca_fingerprint" in found:
        tell(f"  the site's authority: SHA-256 {found['ca_fingerprint']}")
