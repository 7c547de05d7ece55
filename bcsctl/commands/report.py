"""bcsctl report: a report from the history, for a person or a program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bcsctl.completing import GROUPS, REPORT_NAMES
from bcsctl.opening import journal
from bcsctl.options import exits
from bcsctl.output import json_option, print_json, say
from bcsctl.settings import home_option, settings
from bcsctl.sites import site_option
from engine.env.clock import SYSTEM
from engine.model.errors import UsageError
from engine.model.times import format_time, parse_time

if TYPE_CHECKING:
    from engine.env.credentials import Credential

FORMATS = ("md", "html", "json")


@click.command("report", epilog=exits(4, 5))
@click.argument("name", shell_complete=REPORT_NAMES)
@click.option("--from", "from_at", metavar="TIME", default="-30d", show_default=True, help="Where the period begins.")
@click.option("--to", "to_at", metavar="TIME", help="Where it ends (default: now).")
@click.option("--group", shell_complete=GROUPS, help="Of this group alone.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How (default: by the name of --output, else md).")
@click.option("--output", metavar="FILE", help="Write it to a file instead of standard output.")
@site_option
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
    now = SYSTEM.now()
    first, last = parse_time(from_at, now), parse_time(to_at, now) if to_at else now
    if first >= last:
        raise UsageError(f"the period from {from_at} to {to_at or 'now'} is empty", hint="--from comes before --to")
    chosen = form or ("json" if as_json else chosen_by(output))
    at = settings(home)
    if at.site is None:
        from reports.render import render

        text = render(name, journal(at), from_at=first, to_at=last, group=group, format=chosen, now=now)
    else:
        options = [f"--from={format_time(first)}", f"--to={format_time(last)}", f"--format={chosen}"]
        text = rendered_there(at.site, name, [*options, *([f"--group={group}"] if group else [])], as_json)
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


def rendered_there(site: Credential, name: str, options: list[str], as_json: bool) -> str:
    """The report's text, made on the site's node. Ends the command with the exit code that it has there."""
    from bcsctl.remote import captured

    code, out = captured(site, ["report", *options, *(["--json"] if as_json else []), "--", name])
    if code:
        sys.stdout.buffer.write(out)
        raise click.exceptions.Exit(code)
    text = out.decode("utf-8", "surrogateescape")
    return str(json.loads(text).get("text", text)) if as_json else text


def chosen_by(output: str | None) -> str:
    """The format that a file's name asks for."""
    ending = Path(output).suffix.removeprefix(".").lower() if output else ""
    return {"html": "html", "htm": "html", "json": "json"}.get(ending, "md")
