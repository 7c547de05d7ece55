"""A real embedded site for tests and benchmarks: a node and an agent as processes of their own.

Everything lies under one BCS_HOME; nothing is deployed by Ansible here, the checkout is run.
`stop` ends what was started, by process id, whatever happened.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.model.ids import parse_address, stream_id
from engine.node.master_key import ensure_master_key

ROOT = Path(__file__).parents[1]
HOST = "localhost"


class Over(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=300)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Site:
    """One embedded site. Use it as a `with` block."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.environment = {**os.environ, "BCS_HOME": str(home), "PYTHONPATH": str(ROOT), **(environment or {})}
        self.node: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def socket(self) -> Path:
        return self.home / "run" / "node.sock"

    def start_node(self) -> None:
        """Start a node and wait until it answers."""
        ensure_master_key(self.home)
        self.node = self._spawn(["-m", "bcsctl", "serve", "--role", "node"], "node.log")
        self.wait(lambda: self._answers(), 120, "the node to answer")

    def start_agent(self) -> None:
        command = [
            "-m",
            "engine.agent",
            "agent",
            "--home",
            str(self.home),
            "--host",
            HOST,
            "--socket",
            str(self.socket),
        ]
        self.agent = self._spawn(command, "agent.log")

    def start(self) -> Site:
        self.start_node()
        self.start_agent()
        return self

    def stop(self) -> None:
        """End both, gently first."""
        for process in (self.agent, self.node):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(120)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.agent = self.node = None

    def kill(self, what: str) -> None:
        """kill -9 of `node` or `agent`."""
        process: subprocess.Popen[bytes] | None = getattr(self, what)
        if process:
            process.kill()
            process.wait()
            setattr(self, what, None)

    def protect(self, address: str, *paths: Path, exclude: Sequence[str] = ()) -> str:
        """Apply a policy with this one source more; answers its stream."""
        applied = self._applied()
        source = {
            "stream": stream_id(parse_address(address)),
            "address": address,
            "kind": "files",
            "site": "local",
            "paths": [str(path) for path in paths],
            "exclude": list(exclude),
            "ignore": [],
            "labels": {},
            "settings": {},
            "rpo": "5s",
            "retention": [],
        }
        sources = {**applied.get("sources", {}), address: source}
        body = {"base": applied.get("number", 0), "documents": {}, "sources": sources, "by": "a test"}
        self.request("POST", "/v1/policies", body)
        return str(source["stream"])

    def _applied(self) -> dict[str, Any]:
        found = sorted((self.home / "journal" / "control" / "policies").glob("*.json"))
        return json.loads(found[-1].read_text()) if found else {}

    def source(self, address: str) -> dict[str, Any]:
        """The status row of one source."""
        for group in self.request("GET", "/v1/status")["groups"]:
            for row in group["sources"]:
                if row["address"] == address:
                    return dict(row)
        raise LookupError(address)

    def wait_protected(self, address: str, seconds: float = 120) -> dict[str, Any]:
        self.wait(lambda: self.source(address)["protected"] == "protected", seconds, f"{address} to be protected")
        return self.source(address)

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request to the node; LookupError-free JSON answer, AssertionError on an error status."""
        connection = Over(self.socket)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            value = json.loads(answer.read() or b"{}")
            assert answer.status < 400, f"{method} {path}: {answer.status} {value}"
            return dict(value)
        finally:
            connection.close()

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run bcsctl on this site as a user would."""
        command = [sys.executable, "-m", "bcsctl", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, cwd=self.home, timeout=300)
        if check and done.returncode:
            raise AssertionError(f"bcsctl {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.decode()}")
        return done

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run bcsctl with --json and read its object."""
        return dict(json.loads(self.run(*arguments, "--json").stdout))

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for a condition; on time-out show the logs' ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(ConnectionError, FileNotFoundError, LookupError):
                if condition():
                    return
            for name in ("node", "agent"):
                process = getattr(self, name)
                if process and process.poll() is not None:
                    raise AssertionError(f"the {name} ended with {process.returncode}\n{self._logs()}")
            time.sleep(0.02)
        raise AssertionError(f"waited {seconds} s for {what}\n{self._logs()}")

    def _answers(self) -> bool:
        return bool(self.request("GET", "/v1/health"))

    def _logs(self) -> str:
        logs = [path for path in (self.home / "node.log", self.home / "agent.log") if path.exists()]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)

    def _spawn(self, arguments: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.home / log).open("ab") as out:
            return subprocess.Popen(
                [sys.executable, *arguments],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
