"""Ansible action: have a version unpacked on a host and `current` point at it, whole or not at all.

The bundle goes through ssh straight into the program that unpacks it: nothing is copied first, and nothing is asked of
a host that the preflight has seen to have it.
"""

from __future__ import annotations

import base64
import shlex
import zlib
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

UNPACK = Path(__file__).parents[1] / "files" / "unpack.py"


class ActionModule(ActionBase):
    """Arguments: root, keep, variable, and `seen`, what the preflight found."""

    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        root, seen = self._task.args["root"], self._task.args["seen"]
        version, link = seen["version"], f"{root}/current"
        if seen["unpacked"] and seen["current"] == version:
            return {"changed": False}
        diff = {"before_header": link, "after_header": link, "before": f"{seen['current']}\n", "after": f"{version}\n"}
        if self._task.check_mode:
            return {"changed": True, "diff": [diff]}
        words = [root, version, str(self._task.args["keep"]), seen["python"], self._task.args["variable"]]
        data = b"" if seen["unpacked"] else Path(seen["bundle"]).read_bytes()
        answer = self._low_level_execute_command(f"{seen['python']} -c {program()} {shlex.join(words)}", in_data=data)
        if answer["rc"] == 0:
            return {"changed": True, "diff": [diff]}
        said = (answer["stderr"] or answer["stdout"]).strip().splitlines() or ["it said nothing"]
        host = (task_vars or {}).get("inventory_hostname", "the host")
        return {
            "failed": True,
            "msg": f"version {version} could not be unpacked on {host}: {said[-1]} (it ended with {answer['rc']})",
            "hint": "apply again: it begins anew, and the version that runs there goes on until then",
        }


def program() -> str:
    """unpack.py as one word without a quote in it, since it passes through several shells."""
    packed = base64.b64encode(zlib.compress(UNPACK.read_bytes(), 9)).decode()
    return f"\"import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')))\""
