"""Playbooks run for real, on this machine, into homes of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.deploy.runner import Outcome, Progress, local_inventory, run_playbook
from engine.env import processes
from engine.model.errors import Failed

SLEEP = "import sys, time; time.sleep(600)"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home with a space"
    home.mkdir()
    yield home
    pid = processes.read_pid(home / "run" / "agent.pid")
    if pid is not None:
        processes.stop(pid, "agent", home, 5)


def deploy(home: Path, *, check: bool = False, code: str = SLEEP, **more: object) -> Outcome:
    variables = {
        "agent_cache": str(home / "cache"),
        "agent_root": str(home / "agent" / "versions"),
        "agent_home": str(home),
        "agent_host": "localhost",
        "agent_socket": str(home / "run" / "node.sock"),
        "agent_unit": "bcs-agent-test",
        "agent_python": sys.executable,
        "agent_service": "detached",
        "agent_argv": ["-c", code, "agent"],
    }
    return run_playbook("agent.yml", local_inventory(home), {**variables, **more}, check=check)


def remove(home: Path) -> Outcome:
    variables = {
        "agent_root": str(home / "agent" / "versions"),
        "agent_home": str(home),
        "agent_unit": "bcs-agent-test",
    }
    return run_playbook("remove.yml", local_inventory(home), variables)


def pid_of(home: Path) -> int | None:
    return processes.read_pid(home / "run" / "agent.pid")


def test_deploy_again_restart_and_remove(home: Path) -> None:
    first = deploy(home)
    assert first.hosts["localhost"].state == "changed", first
    pid = pid_of(home)
    assert pid is not None and processes.is_ours(pid, "agent", home)
    settings = home / "agent" / "agent.json"
    assert settings.stat().st_mode & 0o777 == 0o600
    assert (home / "agent" / "versions" / "current" / "lib" / "engine" / "agent").is_dir()

    again = deploy(home)
    assert again.hosts["localhost"].state == "ok", again
    assert pid_of(home) == pid

    processes.stop(pid, "agent", home, 5)
    after_a_crash = deploy(home)
    assert [task.name for task in after_a_crash.hosts["localhost"].tasks if task.state == "changed"] == [
        "Run the agent as a process"
    ]
    revived = pid_of(home)
    assert revived is not None and revived != pid and processes.is_ours(revived, "agent", home)

    other_settings = deploy(home, agent_settings={"memory_limit_bytes": 1 << 30})
    assert other_settings.changed
    assert pid_of(home) != revived and not processes.is_alive(revived)

    history = home / "journal" / "kept"
    history.parent.mkdir()
    history.touch()
    removed = remove(home)
    assert removed.ok, removed
    assert not (home / "agent").exists() and history.exists()
    assert remove(home).hosts["localhost"].state == "ok"


def test_check_mode_changes_nothing_and_tells_what_it_would(home: Path) -> None:
    outcome = deploy(home, check=True)
    assert outcome.ok, outcome
    assert outcome.changed
    assert any('"host": "localhost"' in diff for diff in outcome.hosts["localhost"].diff)
    assert sorted(path.name for path in home.iterdir()) in (["cache"], ["cache", "run"])
    assert pid_of(home) is None


def test_an_agent_that_ends_at_once_is_one_message_with_a_hint(home: Path) -> None:
    outcome = deploy(home, code="raise SystemExit('no such moon')")
    host = outcome.hosts["localhost"]
    assert (host.state, outcome.ok) == ("failed", False)
    assert "no such moon" in host.message and "\n" not in host.message
    assert str(home / "agent" / "log") in host.hint


def test_wrong_types_are_refused_before_anything_is_done(home: Path) -> None:
    host = deploy(home, agent_keep_versions="many").hosts["localhost"]
    assert host.state == "failed" and "agent_keep_versions" in host.message
    assert not (home / "agent").exists()


def test_progress_comes_while_it_runs(home: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    inventory = {"all": {"hosts": {"localhost": {"ansible_connection": "local"}, "gone.invalid": {}}}}
    variables = {"agent_root": str(tmp_path / "none"), "agent_home": str(home), "agent_unit": "bcs-agent-test"}
    inventory["all"]["hosts"]["localhost"]["ansible_python_interpreter"] = sys.executable
    outcome = run_playbook("remove.yml", inventory, variables, on_event=seen.append)
    assert outcome.hosts["gone.invalid"].state == "unreachable"
    assert "ssh" in outcome.hosts["gone.invalid"].hint
    assert outcome.hosts["localhost"].state == "ok" and not outcome.ok
    assert {progress.state for progress in seen} >= {"start", "ok", "unreachable"}


def test_settings_of_the_user_do_not_reach_the_run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\nforks = none\ninventory = /nonexistent\n")
    monkeypatch.chdir(tmp_path)
    for name in ("LANG", "LC_ALL", "PATH", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANSIBLE_STRATEGY", "no-such-strategy")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", "/nonexistent")
    before = dict(os.environ)
    assert remove(home).ok
    assert dict(os.environ) == before


def test_matching_no_host_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"missing\.yml"):
        run_playbook("remove.yml", tmp_path / "missing.yml", {})
    with pytest.raises(Failed, match="before it reached a host"):
        run_playbook("remove.yml", local_inventory(tmp_path), {}, limit="nobody")
