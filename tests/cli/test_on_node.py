"""What a user may give to a command that runs on a node: every option was thought of."""

from __future__ import annotations

import click
import pytest

from bcsctl import app, on_node
from bcsctl.sites import OF_THIS_MACHINE
from engine.model.errors import BcsError, Refused
from engine.node.commands import NEEDS

HERE = {"report": {"output"}, "diff": {"at", "disk", "quick"}, "search": {"like"}}
"""Options that the command line of the workstation sees to."""


def test_node_and_command_line_know_the_same_commands() -> None:
    assert set(on_node.OPTIONS) == set(NEEDS)


@pytest.mark.parametrize("name", sorted(on_node.OPTIONS))
def test_every_option_was_thought_of(name: str) -> None:
    known = on_node.OPTIONS[name] | OF_THIS_MACHINE | HERE.get(name, set())
    assert on_node.parameters_of(name) == known, "decide whether users may give it on a node: bcsctl/on_node.py"


@pytest.mark.parametrize(
    "argv",
    [
        ["report", "--output=/tmp/x", "recovery-audit"],
        ["report", "recovery-audit", "--output", "/tmp/x"],
        ["points", "--home", "/tmp", "a/b/c"],
        ["points", "--hom", "/tmp", "a/b/c"],
        ["points", "a/b/c", "--site=x"],
        ["serve"],
        ["restore", "a/b/c"],
        [],
        ["--help"],
        ["history", "--help"],
    ],
)
def test_what_is_not_run(argv: list[str]) -> None:
    with pytest.raises((BcsError, click.ClickException)):
        on_node.check(argv)


def test_what_is_run() -> None:
    for argv in (["points", "a/b/c", "--limit=3", "--json"], ["ls", "-R", "a/b/c"], ["query", "--", "--select"]):
        on_node.check(argv)
    with pytest.raises(Refused):
        on_node.check(["mark", "x"])


def test_a_fault_shows_no_value_to_who_sees_some_groups(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    groups: dict[str, str] = {}
    with pytest.raises(KeyError) as failed:
        groups["quokka"]
    monkeypatch.setenv("BCS_ON_BEHALF_OF", "vera")
    told = app.fault_of(failed.value)
    assert "KeyError in test_on_node.py line" in told.message
    assert "quokka" not in told.message + capfd.readouterr().err
    monkeypatch.delenv("BCS_ON_BEHALF_OF")
    assert "quokka" in app.fault_of(failed.value).message and "Traceback" in capfd.readouterr().err
