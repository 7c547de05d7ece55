"""bcsctl report: a report from the history, for a person or a program."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import json_option, print_json, say
from bcsctl.settings import home_option, settings
from engine.env.clock import SYSTEM
from engine.model.errors import UsageError
from engine.model.times import parse_time

FORMATS = ("md", "html", "json")


@click.command("report", epilog=exits(5))
@click.argument("name")
@click.option("--from", "from_at", metavar="TIME", default="-30d", show_default=True, help="Where the period begins.")
@click.option("--to", "to_at", metavar="TIME", help="Where it ends (default: now).")
@click.option("--group", help="Of this group alone.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How (default: by the name of --output, else md).")
@click.option("--output", metavar="FILE", help="Write it to a file instead of standard output.")
@home_option
@json_option
def command(
    name: str,
    from_at: str,
    to_at: str | None,
    group: str | None,
    form: str | None,
    output: str | None,
    home: str | None,
    as_json: bool,
) -> None:
    """Write a report, the recovery audit for one.

    \b
    Example:  bcsctl report recovery-audit --from -7d --output audit.html
    """
    from reports.render import render

    now = SYSTEM.now()
    first, last = parse_time(from_at, now), parse_time(to_at, now) if to_at else now
    if first >= last:
        raise UsageError(f"the period from {from_at} to {to_at or 'now'} is empty", hint="--from comes before --to")
    chosen = form or ("json" if as_json else chosen_by(output))
    opened = journal(settings(home))
    text = render(name, opened, from_at=first, to_at=last, group=group, format=chosen, now=now)
    if output:
        Path(output).expanduser().write_text(text, "utf-8", "surrogateescape")
        if as_json:
            print_json(
                {"report": name, "format": chosen, "output": output, "bytes": len(text.encode("utf-8", "replace"))}
            )
        else:
            say(f"wrote {output}")
    elif as_json and chosen != "json":
        print_json({"report": name, "format": chosen, "text": text})
    else:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.write(b"" if text.endswith("\n") else b"\n")
        sys.stdout.buffer.flush()


def chosen_by(output: str | None) -> str:
    """The format that a file's name asks for."""
    ending = Path(output).suffix.removeprefix(".").lower() if output else ""
    return {"html": "html", "htm": "html", "json": "json"}.get(ending, "md")
