"""bcsctl logout: forget a site and its token."""

from __future__ import annotations

import click

from bcsctl.options import exits
from bcsctl.output import json_option, print_json, tell
from engine.env import credentials
from engine.model.errors import NothingThere


@click.command("logout", epilog=exits(5))
@click.argument("site", required=False)
@json_option
def command(site: str | None, as_json: bool) -> None:
    """Forget SITE and the token for it; without SITE the only one there is.

    The token goes on to be valid: `bcsctl token revoke` ends it.

    \b
    Example:  bcsctl logout sf
    """
    known = credentials.sites()
    chosen = site or (known[0] if len(known) == 1 else None)
    if chosen is None or not credentials.forget(chosen):
        hint = f"you are signed in to {', '.join(known)}" if known else "there is nothing to forget"
        raise NothingThere(f"you are not signed in to a site '{site}'" if site else "which site?", hint=hint)
    if as_json:
        print_json({"site": chosen})
    else:
        tell(f"signed out of site {chosen}")
