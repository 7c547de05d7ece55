"""Runs a playbook through ansible-runner and says, host by host, what came of it.

Every run has a fresh private directory, since ansible-runner leaves its arguments there for the next run to pick up.
Nothing of the user's Ansible settings is taken over: neither `ANSIBLE_*` nor an ansible.cfg in the home or working
directory. Variables travel in a file that only we can read, never on a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import engine
from engine.deploy.outcome import HostOutcome, Outcome, Progress, Tally
from engine.model.errors import Failed

PLAYBOOKS = Path(engine.__file__).parents[1] / "playbooks"
FORKS = 10

# What a run needs of our own environment; all else stays out, secrets of the caller's shell included.
_KEPT = ("HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME")
_KEPT_BEGINNINGS = ("PIP_", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT")  # wheels may be fetched
_SETTINGS = {
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_HOST_KEY_CHECKING": "True",
    "ANSIBLE_NOCOWS": "1",
    "ANSIBLE_GATHERING": "explicit",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
    # A host that falls silent is given up after half a minute, whatever the task waits for.
    "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=10 -o ServerAliveCountMax=3"
    # An unknown key is an error. Asked about it, or for a passphrase, ssh would wait for somebody who isn't there.
    " -o StrictHostKeyChecking=yes",
    "SSH_ASKPASS": "/bin/false",
    "SSH_ASKPASS_REQUIRE": "force",
    "ANSIBLE_CALLBACK_PLUGINS": "",
    "ANSIBLE_STDOUT_CALLBACK": "",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}


def run_playbook(
    playbook: str,
    inventory: Mapping[str, Any] | Path,
    variables: Mapping[str, Any],
    *,
    limit: str = "",
    check: bool = False,
    tags: str = "",
    config: Path | None = None,
    on_event: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Run `playbooks/<playbook>` and wait for its end.

    `inventory` is Ansible's own form, as a value or a path; `config` an ansible.cfg that belongs to it. With `check`
    nothing is changed and the outcome carries the differences. `on_event` is called as tasks begin and end. A host
    that fails or can't be reached is part of the outcome; Failed is raised when Ansible itself could not run.
    """
    path = PLAYBOOKS / playbook
    if not path.is_file():
        raise Failed(f"there is no playbook {path}", hint="the installation is incomplete: run make venv again")
    if isinstance(inventory, Path) and not inventory.exists():
        raise Failed(f"there is no inventory at {inventory}", hint="name an Ansible inventory in the Site document")
    tally = Tally(on_event)
    with tempfile.TemporaryDirectory(prefix="bcs-ansible-") as private:
        status, said = _run(Path(private), path, inventory, variables, limit, check, tags, config, tally)
    if status == "canceled":
        raise Failed("the Ansible run was interrupted", hint="run the same command again: it goes on from there")
    outcome = tally.outcome()
    if status != "successful" and outcome.ok:
        raise Failed(f"Ansible failed before it reached a host: {said}", hint="check the inventory and the playbook")
    if not outcome.hosts:
        where = f"{inventory} limited to '{limit or 'all'}'" if isinstance(inventory, Path) else f"'{limit or 'all'}'"
        raise Failed(f"no host of the inventory was reached: {where} matches none", hint="check the inventory")
    return outcome


def local_inventory(home: Path) -> dict[str, Any]:
    """The inventory of the embedded site: this machine, this Python, no ssh."""
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(home / "run" / "ansible"),
    }
    return {"all": {"hosts": {"localhost": variables}}}


def _run(
    private: Path,
    playbook: Path,
    inventory: Mapping[str, Any] | Path,
    variables: Mapping[str, Any],
    limit: str,
    check: bool,
    tags: str,
    config: Path | None,
    tally: Tally,
) -> tuple[str, str]:
    """(status, last thing Ansible said)."""
    # Imported here: it costs a third of a second that no other command should pay.
    from ansible_runner.interface import init_runner

    settings = {**_SETTINGS, "ANSIBLE_HOME": str(private / "home"), "ANSIBLE_CONFIG": str(config or _empty(private))}
    with _interruptible() as interrupted:
        run = init_runner(
            private_data_dir=str(private),
            project_dir=str(playbook.parent),
            playbook=playbook.name,
            inventory=_inventory(private, inventory),
            extravars=dict(variables),
            envvars=settings,
            cmdline="--check --diff" if check else None,
            limit=limit or None,
            tags=tags or None,
            forks=FORKS,
            quiet=True,
            settings={"pexpect_timeout": 1},
            event_handler=tally.take,
            cancel_callback=interrupted.is_set,
        )
        # `python -m ansible` needs neither PATH nor an executable's first line, which deep checkouts make too long.
        run.config.command[:1] = [sys.executable, "-m", "ansible", "playbook"]
        run.config.env = _environment(run.config.env, settings)
        run.run()
    return run.status, tally.last_said or _tail(run.stdout)


def _environment(prepared: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """What ansible-runner prepared, less what it took over from our own environment."""
    added = {name: value for name, value in prepared.items() if name in settings or os.environ.get(name) != value}
    kept = {name: os.environ[name] for name in os.environ if name in _KEPT or name.startswith(_KEPT_BEGINNINGS)}
    kept.setdefault("HOME", "/root" if os.geteuid() == 0 else tempfile.gettempdir())
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH") or os.defpath])
    # Our playbooks' plugins ask this program for its bundles: this one, not another that may be installed.
    return {**kept, **added, "PATH": path, "PYTHONPATH": str(PLAYBOOKS.parent)}


def _inventory(private: Path, inventory: Mapping[str, Any] | Path) -> str:
    if isinstance(inventory, Path):
        return str(inventory.absolute())
    path = private / "hosts.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(inventory))
    return str(path)


def _empty(private: Path) -> Path:
    path = private / "ansible.cfg"
    path.write_text("[defaults]\n")
    return path


def _tail(stdout: Any) -> str:
    lines = [line.strip() for line in stdout if line.strip()]
    return lines[-1] if lines else "it said nothing"


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event instead of leaving a run behind; the former handlers come back."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    former = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


__all__ = ["HostOutcome", "Outcome", "Progress", "local_inventory", "run_playbook"]
