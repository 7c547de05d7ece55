"""The reference page of the command line, from its own help: python -m bcsctl.reference > docs/reference/cli.md"""

from __future__ import annotations

import click

from bcsctl.app import COMMANDS, cli

HEAD = """\
# The command line

<!-- Generated: python -m bcsctl.reference > docs/reference/cli.md -->

`--json` prints one JSON object on standard output and nothing else there. Progress and remarks go to
standard error. `NO_COLOR` turns colours off. Settings come from, in rising order: defaults, `bcs.toml`
beside the policies, the environment (`BCS_HOME`, `BCS_POLICIES`, `BCS_SITE`), flags.

Which site: `--site`, `BCS_SITE`, `site` in `bcs.toml`; else the embedded one if it is there; else the only one
that you have signed in to (`bcsctl login`). Tokens come from `BCS_TOKEN_FILE`, `BCS_TOKEN` or the credentials
file, never from an argument; `BCS_URL` and `BCS_CA_FILE` stand for a site without signing in.

Completion: `eval "$(_BCSCTL_COMPLETE=bash_source bcsctl)"`, and `zsh_source` or `fish_source` for those shells.
"""
WIDTH = 100


def page() -> str:
    """The whole page, Markdown."""
    # click keeps a command's help option as its first context had it: all contexts have the same names for it.
    names = cli.context_settings["help_option_names"]
    top = click.Context(cli, info_name="bcsctl", max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=names)
    parts = [HEAD, _block("bcsctl", cli.get_help(top))]
    for name in COMMANDS:
        command = cli.get_command(top, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=top, max_content_width=WIDTH, terminal_width=WIDTH)
        parts.append(_block(f"bcsctl {name}", command.get_help(context)))
        for inner_name, inner in (command.commands if isinstance(command, click.Group) else {}).items():
            below = click.Context(
                inner, info_name=inner_name, parent=context, max_content_width=WIDTH, terminal_width=WIDTH
            )
            parts.append(_block(f"bcsctl {name} {inner_name}", inner.get_help(below)))
    return "\n".join(parts)


def _block(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    click.echo(page(), nl=False)
