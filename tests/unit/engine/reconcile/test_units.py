"""Units are what systemd accepts, whatever the home is called; nothing is installed here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.deploy.runner import local_inventory, run_playbook
from engine.reconcile import units

ODD = Path("/srv/a home with $HOME, 100% \"quoted\" and 'more'")


def verify(path: Path) -> str:
    """What systemd-analyze says against a unit file; empty when nothing."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(path)], capture_output=True, text=True, timeout=60
    )
    return "\n".join(line for line in done.stderr.splitlines() if path.name in line or str(path) in line)


def test_names_differ_by_home() -> None:
    assert units.name("node", Path("/var/lib/bcs")) != units.name("node", Path("/srv/bcs"))
    assert units.name("node", Path("/srv/bcs")) == units.name("node", Path("/srv/bcs"))


@pytest.mark.parametrize("home", [Path("/var/lib/bcs"), ODD], ids=["plain", "odd"])
def test_the_node_unit_is_valid(home: Path, tmp_path: Path) -> None:
    text = units.node_unit(home, [sys.executable, "-m", "bcsctl", "serve"], {"BCS_HOME": str(home), "A": "50%"})
    assert 'Environment="A=50%%"' in text
    path = tmp_path / "bcs-node-test.service"
    path.write_text(text)
    assert verify(path) == ""


@pytest.mark.parametrize("home", [Path("/var/lib/bcs"), ODD], ids=["plain", "odd"])
def test_the_agent_unit_is_valid(home: Path, tmp_path: Path) -> None:
    """In check mode with the difference shown, so that nothing is written where systemd would find it."""
    variables = {
        "agent_cache": str(tmp_path / "cache"),
        "agent_root": str(home / "versions"),
        "agent_home": str(home),
        "agent_host": "localhost",
        "agent_socket": str(home / "run" / "node.sock"),
        "agent_unit": "bcs-agent-test",
        "agent_python": sys.executable,
        "agent_service": "detached",
        "agent_by_systemd": True,
    }
    outcome = run_playbook("agent.yml", local_inventory(tmp_path), variables, check=True, tags="preflight,configure")
    shown = [diff for diff in outcome.hosts["localhost"].diff if "[Service]" in diff]
    assert shown, outcome
    text = "\n".join(line.removeprefix("+") for line in shown[0].splitlines()[3:])
    assert "ExecStart=" in text
    path = tmp_path / "bcs-agent-test.service"
    path.write_text(text)
    assert verify(path) == ""
