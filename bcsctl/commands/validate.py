"""bcsctl validate: schema, cross references and host patterns; nothing is changed, no host is asked."""

from __future__ import annotations

import click

from bcsctl.options import exits
from bcsctl.output import GOOD, fail, json_option, print_json, tell
from bcsctl.settings import home_option, settings
from engine.model.counts import counted
from engine.model.errors import PolicyInvalid


@click.command("validate", epilog=exits(3))
@click.argument("paths", nargs=-1)
@click.option("--no-inventory", is_flag=True, help="Don't resolve host patterns: inventories may ask a cloud.")
@home_option
@json_option
def command(paths: tuple[str, ...], no_inventory: bool, home: str | None, as_json: bool) -> int:
    """Check policies: schema, cross references, host patterns.

    PATHS are files and directories; without any, the policies of the working directory.

    \b
    Example:  bcsctl validate policies/
    """
    from engine.reconcile.hosts import resolver
    from engine.reconcile.load import load
    from engine.reconcile.paths import variables_of
    from engine.reconcile.resolve import resolve

    at = settings(home, paths)
    loaded = load(at.policies)
    try:
        found = resolve(
            loaded,
            variables=variables_of(at.home),
            resolve_hosts=None if no_inventory else resolver(loaded),
        )
    except PolicyInvalid as error:
        if not as_json:
            return fail(error, False, faults_shown=None)
        errors = error.details.get("errors", [])
        print_json({"valid": False, "errors": errors, **error.as_json()})
        return error.exit_code
    if as_json:
        sources = [str(source.address) for source in found.sources]
        print_json({"valid": True, "errors": [], "documents": [one.key for one in found.documents], "sources": sources})
    else:
        tell(f"valid: {counted(len(found.documents), 'document')}, {counted(len(found.sources), 'source')}", GOOD)
    return 0
