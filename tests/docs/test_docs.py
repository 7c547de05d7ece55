"""The documents can't rot: their policies validate, their links lead somewhere, their commands exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from bcsctl.app import COMMANDS
from engine.reconcile.resolve import load_policies
from tests.embedded import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLES = sorted(path for path in (ROOT / "docs" / "examples").iterdir() if path.is_file())
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?bcsctl (.+)$", re.MULTILINE)


def blocks(document: Path, language: str) -> list[str]:
    return [body for tag, body in FENCE.findall(document.read_text()) if tag == language]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_policies_in_it_validate(document: Path, tmp_path: Path) -> None:
    policies = [body for body in blocks(document, "yaml") if "apiVersion" in body]
    for number, body in enumerate(policies):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "policy.yaml").write_text(body)
        load_policies([directory], variables={"BCS_HOME": "/var/lib/bcs", "HOME": "/root"})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_it_exist_with_their_options(document: Path) -> None:
    lines = [line for body in blocks(document, "") + blocks(document, "sh") for line in COMMAND.findall(body)]
    for line in lines:
        check_command(line)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_commands_of_the_examples_exist_with_their_options(example: Path) -> None:
    lines = re.findall(r"bcsctl ((?:[a-z]+).*)$", example.read_text(), re.MULTILINE)
    assert lines or "bcsctl" not in example.read_text()
    for line in lines:
        check_command(line)


def check_command(line: str) -> None:
    """Its command exists, and so do its options."""
    words = shlex.split(line.split(" && ")[0].split(" | ")[0], comments=True)
    assert words[0] in COMMANDS, line
    command: click.Command = importlib.import_module(f"bcsctl.commands.{words[0]}").command
    context = click.Context(command)
    while isinstance(command, click.Group) and len(words) > 1 and words[1] in command.list_commands(context):
        words = words[1:]
        found = command.get_command(context, words[0])
        assert found is not None
        command = found
    known = {option for each in command.params for option in each.opts} | {"--help", "-h"}
    used = {word.split("=")[0] for word in words[1:] if word.startswith("--")}
    assert used <= known, line


def test_the_readme_has_something_to_check() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(COMMAND.findall(readme)) >= 4
    assert "apiVersion" in readme
