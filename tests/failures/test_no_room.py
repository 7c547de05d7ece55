"""No room: in the spool, on the file system of the agent's home, on that of the source. Loud, and healed by looking."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.model.errors import Unreachable
from tests.failures.host import Host, a_host
from tests.mounts import mounted


@dataclass
class Deafness:
    """Makes the node of a host hear reports, and take no batches."""

    host: Host
    deaf: bool = False

    def __post_init__(self) -> None:
        take = self.host.node.send

        def send(*arguments: Any) -> None:
            if self.deaf:
                raise Unreachable("the line to the node is down")
            take(*arguments)

        self.host.node.send = send  # type: ignore[method-assign]


class Application:
    """Writes a file again and again, and another one beside the protected tree, and notes how long each write takes."""

    def __init__(self, path: Path, bytes_each: int = 2000, beside: Path | None = None) -> None:
        self.path, self.bytes_each, self.beside = path, bytes_each, beside or path.parent
        self.seconds: list[float] = []
        self.seconds_beside: list[float] = []
        self.errors: list[OSError] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Application:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(0.002):
            number += 1
            data = os.urandom(self.bytes_each)
            began = time.monotonic()
            try:
                (self.path / f"f{number % 20}").write_bytes(data)
            except OSError as error:
                self.errors.append(error)
            self.seconds.append(time.monotonic() - began)
            (self.beside / "unprotected").write_bytes(data)
            self.seconds_beside.append(time.monotonic() - began - self.seconds[-1])

    def waited(self) -> bool:
        """Whether a write took long where one beside it did not: for something of ours."""
        return max(self.seconds) > max(2.0, 5 * max(self.seconds_beside))


def failing(host: Host, text: str, seconds: float = 120.0) -> dict[str, Any]:
    host.wait(
        lambda: host.reported().get("state") == "failed" and text in host.reported()["message"],
        f"a failure that says {text}",
        seconds,
    )
    return host.reported()


def test_a_full_spool_is_a_gap_and_no_application_waits(tmp_path: Path) -> None:
    with a_host(tmp_path) as host:
        line = Deafness(host)
        host.start(arguments=("--spool-limit", "200KiB"))
        point = host.settle()
        host.protected()
        with Application(host.tree) as application:
            line.deaf = True
            assert failing(host, "the spool holds")["gap_from"], "the gap is open as long as nothing is captured"
            line.deaf = False
            host.wait(lambda: [gap for gap in host.gaps() if gap.label == "the spool was full"], "the gap to close")
        assert not application.errors
        assert not application.waited()
        host.settle()
        host.protected()
        assert host.gaps()[-1].gap_from >= point.at
        host.check()
        assert host.node.head.epoch == 1


def test_no_room_for_the_agent(tmp_path: Path) -> None:
    """Its file system is full of its own spool: once the node takes that, there is room."""
    with mounted("tmpfs", 3 << 20) as home, a_host(tmp_path / "host", home=home) as host:
        line = Deafness(host)
        host.start()
        host.settle()
        host.protected()
        with Application(host.tree, 50_000) as application:
            line.deaf = True
            failing(host, "")
            assert host.reported()["message"]
            line.deaf = False
            host.wait(lambda: host.reported().get("state") == "protected", "the agent to go on")
        assert not application.errors and not application.waited()
        host.settle()
        host.protected()
        assert host.gaps()
        host.check()


def test_others_take_all_the_room_of_the_agent(tmp_path: Path) -> None:
    with mounted("ext4", 24 << 20) as home, a_host(tmp_path / "host", home=home) as host:
        host.start()
        host.settle()
        host.protected()
        fill(home / "of others")
        for number in range(40):
            (host.tree / f"f{number}").write_bytes(os.urandom(40_000))
            time.sleep(0.01)
        failing(host, "")
        # An agent that starts now can't even open its record; nor does it lose it.
        host.kill()
        log = host.base / "agent.log"
        said = log.stat().st_size
        host.start()
        host.wait(lambda: host.living.poll() is not None or log.stat().st_size > said, "the agent to find no room")
        (host.tree / "f1").unlink()
        (home / "of others").unlink()

        def all_there() -> bool:
            if host.living.poll() is not None:
                host.start()  # as its unit would
            return not host.differing()

        host.wait(all_there, "the agent to go on")
        host.settle()
        host.protected()
        host.check()
        assert host.gaps()
        assert host.node.head.epoch == 1, "the record was lost"


def test_no_room_in_the_source(tmp_path: Path) -> None:
    """The application fails, as it would without us, and nothing else does."""
    with mounted("ext4", 16 << 20) as tree, a_host(tmp_path / "host", tree=tree) as host:
        host.start()
        host.settle()
        fill(tree / "all that there is")
        with Application(tree, 20_000, tmp_path) as application:
            host.wait(lambda: application.errors, "the file system to be full")
            (tree / "all that there is").unlink()
        assert {error.errno for error in application.errors} == {28}
        host.settle()
        assert not host.gaps() and host.protected()
        host.check()


def fill(path: Path) -> None:
    """Write until there is no room: again after what was only reserved is written, and in small pieces at the end."""
    with path.open("ab", buffering=0) as file:
        for piece in (1 << 20, 1 << 16, 4096, 4096):
            try:
                while True:
                    file.write(bytes(piece))
            except OSError:
                os.fsync(file.fileno())
