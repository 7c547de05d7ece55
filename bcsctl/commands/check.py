"""bcsctl check: the journal's integrity, from its structure to every byte."""

from __future__ import annotations

import click

from bcsctl.options import exits
from bcsctl.output import json_option
from bcsctl.settings import home_option


@click.command("check", epilog=exits(6))
@click.option("--read-data", is_flag=True, help="Open every frame and compare every hash.")
@click.option("--sample", metavar="SHARE", help="With --read-data: only this share of the packs, as 1%.")
@home_option
@json_option
def command(read_data: bool, sample: str | None, home: str | None, as_json: bool) -> int:
    """Verify the journal: structure, or every byte.

    Names each object that is missing, cut short, changed or swapped, with the paths and times
    it affects.

    \b
    Example:  bcsctl check --read-data --sample 5%
    """
    raise NotImplementedError
