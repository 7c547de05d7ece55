"""The embedded site's processes, for real, in homes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env import processes
from engine.model.errors import Failed
from engine.plan.observed import ABSENT, RUNNING, STOPPED
from engine.reconcile import embedded, units
from engine.reconcile.observe import observe


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(units.SERVICE_VARIABLE, "detached")
    home = tmp_path / "a home"
    yield home
    if home.exists():
        embedded.down(home)


def test_a_node_starts_once_and_goes(home: Path) -> None:
    assert observe(home).node.state == ABSENT
    assert embedded.start_node(home) is True
    pid = embedded.node_pid(home)
    health = embedded.health(home)
    assert pid is not None and health is not None
    assert observe(home).node.state == RUNNING
    assert observe(home).node.version == observe(home).version
    told: list[str] = []
    assert embedded.start_node(home, on_start=lambda: told.append("starting")) is False
    assert not told, "it runs already"
    assert embedded.node_pid(home) == pid
    assert (home / "run" / "node.sock").stat().st_mode & 0o777 == 0o600

    assert [(one.role, one.pid) for one in embedded.down(home)] == [("node", pid)]
    assert not processes.is_alive(pid)
    assert observe(home).node.state == STOPPED
    assert (home / "journal" / "bcs.json").exists()
    assert embedded.down(home) == []


def test_a_killed_node_is_started_again_with_its_key_and_journal(home: Path) -> None:
    embedded.start_node(home)
    first = embedded.health(home)
    key = (home / "keys" / "master.key").read_bytes()
    pid = embedded.node_pid(home)
    assert pid is not None and first is not None
    os.kill(pid, 9)
    while processes.is_alive(pid):
        pass
    assert observe(home).node.state == STOPPED
    assert embedded.start_node(home) is True
    again = embedded.health(home)
    assert again is not None
    assert (again["journal"], again["node"]) == (first["journal"], first["node"])
    assert (home / "keys" / "master.key").read_bytes() == key


def test_a_node_of_another_version_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(embedded, "node_version", lambda: "0.0.1+old")
        embedded.start_node(home)
    pid = embedded.node_pid(home)
    assert observe(home).node.version == "0.0.1+old"
    assert embedded.start_node(home) is True
    assert embedded.node_pid(home) != pid


def test_a_lost_pid_file_loses_no_node(home: Path) -> None:
    embedded.start_node(home)
    pid = embedded.node_pid(home)
    (home / "run" / "node.pid").unlink()
    assert embedded.start_node(home) is False
    assert [one.pid for one in embedded.down(home)] == [pid]


def test_a_journal_without_its_key_is_not_given_a_new_one(home: Path) -> None:
    embedded.start_node(home)
    embedded.down(home)
    (home / "keys" / "master.key").unlink()
    with pytest.raises(Failed, match="its key"):
        embedded.start_node(home)
    assert not (home / "keys" / "master.key").exists()


def test_a_node_that_can_not_start_says_why(home: Path) -> None:
    home.mkdir()
    (home / "journal").write_text("in the way")
    with pytest.raises(Failed, match="the node ended at once: ") as raised:
        embedded.start_node(home)
    assert raised.value.hint == f"read {home / 'node' / 'log'}"


def test_down_leaves_others_alone(home: Path) -> None:
    """Neither a process that merely mentions our words with our home in its environment, nor one whose pid we noted."""
    embedded.make_home(home)
    sleep = "import sys, time; time.sleep(60)"
    words = [sys.executable, "-c", sleep, "-m", "bcsctl", "serve", "node", "agent"]
    with subprocess.Popen(words, env={"BCS_HOME": str(home)}) as mentions, subprocess.Popen(words, env={}) as noted:
        (home / "run" / "node.pid").write_text(f"{noted.pid}\n")
        try:
            assert embedded.down(home) == []
            assert mentions.poll() is None and noted.poll() is None
        finally:
            mentions.kill()
            noted.kill()


def test_observing_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    found = observe(tmp_path / "none")
    assert (found.number, dict(found.documents), found.agent.state) == (0, {}, ABSENT)
    assert not (tmp_path / "none").exists()


def test_what_is_lost_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "has_systemd", lambda: False)
    monkeypatch.setattr(processes, "is_root", lambda: False)
    said = " ".join(embedded.shortcomings())
    assert "no systemd" in said and "not root" in said and "inotify" in said
    monkeypatch.setattr(processes, "has_systemd", lambda: True)
    assert "only root" in embedded.shortcomings()[0]
    monkeypatch.setattr(processes, "is_root", lambda: True)
    assert embedded.shortcomings() == []
