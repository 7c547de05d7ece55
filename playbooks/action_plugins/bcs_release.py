"""Ansible action: have a version unpacked on a host and `current` point at it, whole or not at all.

One stream goes through ssh: the program that unpacks, then the bundle. Nothing is copied first, and nothing is asked of
a host that the preflight has seen to have it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

UNPACK = Path(__file__).parents[1] / "files" / "unpack.py"


class ActionModule(ActionBase):
    """Arguments: root, keep, variable, and `seen`, what the preflight found. With `back` the version that `current`
    named before this run comes back, if there was another one: the new one did not come up."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        root, seen = self._task.args["root"], dict(self._task.args["seen"])
        if self._task.args.get("back"):
            if seen["current"] in ("", seen["version"]):
                return {"changed": False}
            seen |= {"version": seen["current"], "current": seen["version"], "unpacked": True}
        version, link = seen["version"], f"{root}/current"
        if seen["unpacked"] and seen["current"] == version:
            return {"changed": False}
        diff = {"before_header": link, "after_header": link, "before": f"{seen['current']}\n", "after": f"{version}\n"}
        if self._task.check_mode:
            return {"changed": True, "diff": [diff]}
        words = [root, version, str(self._task.args["keep"]), seen["python"], self._task.args["variable"]]
        program = UNPACK.read_bytes()
        bundle = b"" if seen["unpacked"] else Path(seen["bundle"]).read_bytes()
        command = shlex.join([seen["python"], "-c", f"import sys;exec(sys.stdin.buffer.read({len(program)}))", *words])
        answer = self._low_level_execute_command(command, in_data=program + bundle)
        if answer["rc"] == 0:
            facts = {"back_to": version} if self._task.args.get("back") else {}
            return {"changed": True, "diff": [diff], "bcs": facts}
        said = (answer["stderr"] or answer["stdout"]).strip().splitlines() or ["it said nothing"]
        host = (task_vars or {}).get("inventory_hostname", "the host")
        return {
            "failed": True,
            "msg": f"version {version} could not be unpacked on {host}: {said[-1]} (it ended with {answer['rc']})",
            "hint": "apply again: it begins anew, and the version that runs there goes on until then",
        }
