"""An Ansible module: keeps one detached agent running on a host, or none. For hosts without systemd as PID 1.

An agent with the wanted command line and environment is left alone; one with others is stopped and started again;
a dead one is started. It uses the agent's own code to know the process, so a pid that was given to somebody else is
never signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

ROLE = "agent"
STARTED_SECONDS = 0.5  # an agent that can't start ends within this time
STOP_SECONDS = 15


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "required": True},
            "lib": {"type": "path", "required": True},
            "home": {"type": "path", "required": True},
            "argv": {"type": "list", "elements": "str"},
            "environment": {"type": "dict", "default": {}},
        },
        required_if=[("state", "started", ["argv"])],
        supports_check_mode=True,
    )
    lib, home = Path(module.params["lib"]), Path(module.params["home"])
    if not lib.is_dir():
        if module.check_mode:
            module.exit_json(changed=module.params["state"] == "started", was="absent")
        module.fail_json(msg=f"no agent is unpacked at {lib}", hint="run the playbook's install tasks first")
    sys.path.insert(0, str(lib))
    from engine.model.errors import BcsError

    try:
        if module.params["state"] == "stopped":
            module.exit_json(**stop(home, module.check_mode))
        environment = {name: str(value) for name, value in module.params["environment"].items()}
        with one_at_a_time(home):
            outcome = start(home, module.params["argv"], environment, module.check_mode)
        module.exit_json(**outcome)
    except BcsError as error:
        module.fail_json(msg=error.message, hint=error.hint)


@contextlib.contextmanager
def one_at_a_time(home: Path) -> Iterator[None]:
    """Of two runs at once the second finds the first one's agent."""
    (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "run" / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start(home: Path, argv: list[str], environment: dict[str, str], check: bool) -> dict[str, object]:
    from engine.env import processes

    pid_path = home / "run" / "agent.pid"
    pid = living(home)
    was = "stopped" if pid is None else "same" if matches(pid, argv, environment) else "other"
    if was == "same":
        return {"changed": False, "was": was, "pid": pid}
    if check:
        return {"changed": True, "was": was}
    if pid is not None:
        processes.stop(pid, ROLE, home, STOP_SECONDS)
    (home / "agent").mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = {**environment, "HOME": os.environ.get("HOME", "/")}
    pid = processes.spawn_detached(argv, environment, home / "agent" / "log", home)
    processes.write_pid_file(pid_path, pid)
    require_alive(pid, home)
    return {"changed": True, "was": was, "pid": pid}


def stop(home: Path, check: bool) -> dict[str, object]:
    from engine.env import processes

    pid = living(home)
    if pid is None:
        return {"changed": False}
    if not check:
        processes.stop(pid, ROLE, home, STOP_SECONDS)
        (home / "run" / "agent.pid").unlink(missing_ok=True)
    return {"changed": True, "was": "running"}


def living(home: Path) -> int | None:
    from engine.env import processes

    pid = processes.read_pid(home / "run" / "agent.pid")
    return pid if pid is not None and processes.is_ours(pid, ROLE, home) else None


def matches(pid: int, argv: list[str], environment: dict[str, str]) -> bool:
    """Whether the process was started with this command line and, as far as it goes, this environment."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    has = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    wanted = {os.fsencode(f"{name}={value}") for name, value in environment.items()}
    return command == [os.fsencode(word) for word in argv] and wanted <= has


def require_alive(pid: int, home: Path) -> None:
    from engine.env import processes
    from engine.model.errors import Failed

    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        watched = None
    if watched is not None:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.poll(STARTED_SECONDS * 1000)
        os.close(watched)
    if not processes.is_alive(pid):
        log = home / "agent" / "log"
        said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
        raise Failed(f"the agent ended at once: {said[-1] if said else 'it said nothing'}", hint=f"read {log}")


if __name__ == "__main__":
    main()
