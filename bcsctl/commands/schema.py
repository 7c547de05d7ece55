"""bcsctl schema: the JSON Schema of the policies."""

from __future__ import annotations

import click

from bcsctl.options import exits
from bcsctl.output import json_option, print_json
from engine.model.policy.documents import KINDS


@click.command("schema", epilog=exits(5))
@click.argument("kind", required=False)
@json_option
def command(kind: str | None, as_json: bool) -> None:
    """Print the JSON Schema (draft 2020-12) of a KIND of policy, or of all.

    The answer is JSON with and without --json.

    \b
    Example:  bcsctl schema ProtectionGroup > group.schema.json
    """
    from engine.reconcile.schema import schema

    print_json(schema(kind))


command.help = (command.help or "") + f"\n\nKinds: {', '.join(KINDS)}."
