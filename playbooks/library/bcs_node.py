"""An Ansible module: waits for a node to answer on its own socket, and asks for its version and its site's CA.

Changes nothing. In check mode it does not wait: a host without a node has no answer to give.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PAUSE_SECONDS = 0.1


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "wait_seconds": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    path, until = module.params["socket"], time.monotonic() + module.params["wait_seconds"]  # noqa: TID251
    while True:
        try:
            health, ca = ask(path, "/v1/health"), ask(path, "/v1/ca")
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            if module.check_mode:
                module.exit_json(changed=False, bcs={"node": {}})
            if time.monotonic() > until:  # noqa: TID251
                module.fail_json(msg=f"the node does not answer at {path}: {error}",
                                 hint="on the host: journalctl -u bcs-node -n 50")  # fmt: skip
            time.sleep(PAUSE_SECONDS)  # noqa: TID251
    module.exit_json(changed=False, bcs={"node": {"version": health.get("version", ""), "ca": ca.get("ca", "")}})


def ask(path: str, target: str) -> dict[str, Any]:
    connection = Connection(path)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        if answer.status != 200:
            raise ValueError(f"{target}: {body.get('error', {}).get('message', answer.status)}")
        return dict(body)
    finally:
        connection.close()


if __name__ == "__main__":
    main()
