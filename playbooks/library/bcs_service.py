"""An Ansible module: a systemd service that runs as it was last deployed, or is stopped, or gone with its unit.

A process carries in its environment what it was deployed with: one with other values than `environment` was started
before a change and is restarted, whether this run made that change or one that was cut off after it. True in check mode
on a host that has no such unit yet. `note` is a file that is written once the unit is in force: what bounds a service
changes without a restart, so its process could not tell from its environment. Where the service does not come up, its
own last words are the message.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DIRECTORY = "/etc/systemd/system"
PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "required": True},
            "environment": {"type": "dict", "default": {}},
            "note": {"type": "dict", "options": {"path": {"type": "path"}, "content": {"type": "str"}}},
        },
        supports_check_mode=True,
    )
    unit = module.params["name"] + ".service"
    found = look(unit)
    state, wanted = module.params["state"], dict(module.params["environment"])
    found["as_deployed"] = "yes" if wanted.items() <= environment_of(found["MainPID"]).items() else "no"
    steps = to_start(found) if state == "started" else to_stop(found)
    if state == "absent" and os.path.exists(f"{DIRECTORY}/{unit}"):
        steps += ["remove", "daemon-reload"]
    note = module.params["note"]
    if note and not noted(note):
        steps.append("note")
    if not module.check_mode:
        for step in steps:
            run(module, unit, step) if step != "note" else write(note)
    older = ", started before a change" if found["ActiveState"] == "active" and found["as_deployed"] == "no" else ""
    before = f"{found['ActiveState']}, {found['UnitFileState'] or 'no unit'}{older}\n"
    diff = {"before_header": unit, "after_header": unit, "before": before, "after": f"{state}: {', '.join(steps)}\n"}
    module.exit_json(changed=bool(steps), diff=[diff] if steps else [])


def noted(note: dict[str, str]) -> bool:
    try:
        return Path(note["path"]).read_text("utf-8") == note["content"]
    except OSError:
        return False


def write(note: dict[str, str]) -> None:
    path = Path(note["path"])
    new = path.with_name(f".{path.name}.new")
    new.write_text(note["content"], "utf-8")
    new.chmod(0o600)
    new.replace(path)


def look(unit: str) -> dict[str, str]:
    said = systemctl("show", unit, *(f"--property={name}" for name in PROPERTIES)).stdout
    found = dict.fromkeys(PROPERTIES, "")
    found.update(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return found


def environment_of(pid: str) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_text("utf-8", "replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def to_start(found: dict[str, str]) -> list[str]:
    steps = []
    if found["LoadState"] != "loaded" or found["NeedDaemonReload"] == "yes":
        steps.append("daemon-reload")
    if found["UnitFileState"] != "enabled":
        steps.append("enable")
    if found["ActiveState"] != "active" or found["as_deployed"] == "no":
        steps.append("restart")
    return steps


def to_stop(found: dict[str, str]) -> list[str]:
    if found["LoadState"] == "not-found":
        return []
    steps = ["stop"] if found["ActiveState"] not in ("inactive", "failed") else []
    return [*steps, "disable"] if found["UnitFileState"] == "enabled" else steps


def run(module: AnsibleModule, unit: str, step: str) -> None:
    if step == "remove":
        os.unlink(f"{DIRECTORY}/{unit}")
        return
    done = systemctl(step) if step == "daemon-reload" else systemctl(step, unit)
    if done.returncode == 0:
        return
    journal = subprocess.run(
        ["journalctl", "--unit", unit, "--lines=20", "--output=cat", "--no-pager", "--quiet"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    module.fail_json(msg=f"{unit} did not {step}: {last_words(journal.stdout) or done.stderr.strip()}",
                     hint=f"on the host: journalctl -u {unit} -n 50; then apply again")  # fmt: skip


def last_words(journal: str) -> str:
    """The last line in which the program itself speaks of an error, else the last line of all."""
    lines = [line.strip() for line in journal.splitlines() if line.strip()]
    return ([line for line in lines if "rror: " in line] or lines or [""])[-1]


def systemctl(*words: str) -> Any:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
