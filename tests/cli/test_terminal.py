"""Colours and progress are for terminals, and only where they are wanted."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ADDRESS, ROOT, PlainSite

ESCAPE = b"\x1b["


def on_terminal(site: PlainSite, *arguments: str, **environment: str) -> tuple[int, bytes]:
    """Run bcsctl with all three streams on a terminal; its exit code and what it wrote."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "BCS_HOME": str(site.home), "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}
    variables = {key: value for key, value in variables.items() if key != "NO_COLOR" or "NO_COLOR" in environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "bcsctl", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:  # the terminal has no writer any more
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=300), written


@pytest.mark.parametrize("command", [["points", ADDRESS], ["status"], ["ls", ADDRESS], ["points", "no/such/source"]])
def test_colours_on_a_terminal_unless_no_color_is_set(site: PlainSite, command: list[str]) -> None:
    code, coloured = on_terminal(site, *command)
    same, plain = on_terminal(site, *command, NO_COLOR="1")
    assert code == same == (5 if "no/such/source" in command else 0)
    assert ESCAPE in coloured
    assert ESCAPE not in plain


def test_json_has_no_colours_on_a_terminal(site: PlainSite) -> None:
    assert ESCAPE not in on_terminal(site, "points", ADDRESS, "--json")[1]


def test_a_restore_on_a_terminal_ends_with_one_line(site: PlainSite, tmp_path: Path) -> None:
    code, written = on_terminal(site, "restore", ADDRESS, "--to", str(tmp_path / "back"))
    assert code == 0
    assert b"Restored 2 files" in written.splitlines()[-1]
