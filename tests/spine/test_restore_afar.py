"""Restores to another host, with real processes: a node, and agents of two hosts, here all on one machine.

What host b is given of host a's history equals it byte for byte and attribute for attribute, whoever is killed
meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.tree.compare import compare
from tests.embedded import Site
from tests.nodes import acts
from tests.sample_tree import make_sample

ADDRESS = "g/a/files"
FILES, FILE_BYTES = 120, 1 << 20
HALF_WAY = 12
"""So many files are there when someone is killed."""


class Hosts:
    """A node, and an agent process a host; each host has a home of its own."""

    def __init__(self, base: Path, site: Site) -> None:
        self.base, self.site = base, site
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.commands: list[subprocess.Popen[bytes]] = []

    def start(self, host: str) -> None:
        home = self.base / f"home-{host}"
        home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "engine.agent", "agent", "--home", str(home), "--host", host]
        command += ["--socket", str(self.site.socket)]
        with (self.base / f"{host}.log").open("ab") as log:
            self.agents[host] = subprocess.Popen(
                command, env={**self.site.environment, "BCS_HOME": str(home)}, cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        for command in self.commands:
            if command.poll() is None:
                command.kill()
                command.wait()
        for agent in self.agents.values():
            agent.terminate()
            agent.send_signal(signal.SIGCONT)  # it may stand still where a test has failed
        for agent in self.agents.values():
            try:
                agent.wait(120)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()

    @classmethod
    @contextmanager
    def up(cls, base: Path, names: str) -> Iterator[Hosts]:
        with Site(base / "home") as site:
            site.start_node()
            hosts = cls(base, site)
            for host in names:
                hosts.start(host)
            try:
                yield hosts
            finally:
                hosts.stop()

    def restore(self, target: Path, *more: str, address: str = ADDRESS) -> subprocess.Popen[bytes]:
        """`bcsctl restore` to host b, begun."""
        return self.command("restore", address, "--to", f"b:{target}", *more)

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """A command, begun; it answers in JSON."""
        command = [sys.executable, "-m", "bcsctl", *words, "--json"]
        begun = subprocess.Popen(
            command, env=self.site.environment, cwd=self.base, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.commands.append(begun)
        return begun

    def receivers(self, host: str = "b") -> list[int]:
        """The processes that receive restores for a host's agent."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if b"engine.agent.restore.process" in words and os.fsencode(self.base / f"home-{host}") in words:
                found.append(int(entry.name))
        return found


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Hosts.up(tmp_path, "ab") as hosts:
        yield hosts


def protect_many(hosts: Hosts) -> Path:
    """A tree that takes a while to restore."""
    tree = hosts.base / "tree"
    tree.mkdir()
    for number in range(FILES):
        (tree / f"f{number:03d}").write_bytes(os.urandom(FILE_BYTES // 4) + bytes([number]) * (FILE_BYTES * 3 // 4))
    hosts.site.protect(ADDRESS, tree)
    hosts.site.wait_protected(ADDRESS)
    return tree


def until_half_way(target: Path) -> None:
    """Wait until some of the files are there; AssertionError when all of them are."""
    end = time.monotonic() + 120
    while True:
        there = len(os.listdir(target)) if target.is_dir() else 0
        if there >= HALF_WAY:
            assert there < FILES, "the restore was too fast to be caught half-way"
            return
        assert time.monotonic() < end, "the restore did not begin"
        time.sleep(0.001)


def ended(restore: subprocess.Popen[bytes], seconds: float = 120.0) -> dict[str, Any]:
    """The answer of a restore that must come to its end."""
    out, said = restore.communicate(timeout=seconds)
    assert restore.returncode == 0, (restore.returncode, out, said)
    return dict(json.loads(out))


def differences(tree: Path, target: Path) -> list[str]:
    return [str(each) for each in compare(os.fsencode(tree), os.fsencode(target))]


def test_a_tree_of_everything_arrives_as_it_was(hosts: Hosts) -> None:
    tree = hosts.base / "tree"
    tree.mkdir()
    make_sample(tree)
    site = hosts.site
    site.protect(ADDRESS, tree)
    site.wait_protected(ADDRESS)
    told = ended(hosts.restore(hosts.base / "back" / "here", "--verify"))
    assert differences(tree, hosts.base / "back" / "here") == []
    assert told["verified"] and told["read_back"] and told["recorded"]
    assert told["failures"] == told["shortfalls"] == []
    near = site.json("restore", ADDRESS, "--to", str(hosts.base / "near"), "--verify")
    for name in ("files", "names", "bytes", "verified", "read_back", "point", "at", "class"):
        assert told[name] == near[name], name
    planned = site.json("restore", ADDRESS, "--to", f"b:{hosts.base}/no", "--dry-run")
    assert planned["plan"]["files"] == told["files"] and not (hosts.base / "no").exists()
    mine = [act for act in acts(site.home) if act["details"].get("restore") == told["id"]]
    assert [act["what"] for act in mine] == ["restoring", "restore"]
    assert all(act["details"]["host"] == "b" and act["who"] for act in mine)
    local = [act for act in acts(site.home) if act["details"].get("target") == str(hosts.base / "near")]
    assert [act["what"] for act in local] == ["restoring", "restore"], "a restore here is recorded at both ends too"
    one = ended(hosts.restore(hosts.base / "one", address=f"{ADDRESS}:{tree}/dir"))
    assert one["plan"]["path"] == f"{tree}/dir" and differences(tree / "dir", hosts.base / "one" / "dir") == []


def test_who_is_killed_goes_on(hosts: Hosts) -> None:
    tree = protect_many(hosts)
    site = hosts.site

    target = hosts.base / "receiver-killed"
    restore = hosts.restore(target)
    until_half_way(target)
    [pid] = hosts.receivers()
    os.kill(pid, signal.SIGKILL)
    told = ended(restore)
    assert differences(tree, target) == [] and told["verified"] and told["files"] == FILES

    target = hosts.base / "node-killed"
    restore = hosts.restore(target)
    until_half_way(target)
    site.kill("node")
    site.start_node()
    told = ended(restore)
    assert differences(tree, target) == [] and told["verified"] and told["files"] == FILES

    target = hosts.base / "agent-killed"
    restore = hosts.restore(target)
    until_half_way(target)
    agent = hosts.agents["b"]
    agent.kill()
    agent.wait()
    site.wait(lambda: not hosts.receivers(), 120, "the receiver to end with its agent")
    hosts.start("b")
    told = ended(restore)
    assert differences(tree, target) == [] and told["verified"] and told["files"] == FILES


def test_ctrl_c_cancels_and_says_what_stays(hosts: Hosts) -> None:
    tree = protect_many(hosts)
    target = hosts.base / "cancelled"
    restore = hosts.restore(target)
    until_half_way(target)
    restore.send_signal(signal.SIGINT)
    _, said = restore.communicate(timeout=300)
    assert restore.returncode == 130, said
    assert b"cancelled; what was written stays in b:" in said
    hosts.site.wait(lambda: not hosts.receivers(), 120, "the receiver to end")
    there = len(os.listdir(target))
    assert HALF_WAY <= there < FILES
    last = [act for act in acts(hosts.site.home) if act["what"] == "restore"][-1]
    assert last["details"]["state"] == "cancelled" and last["details"]["verified"] is False
    refused = hosts.restore(target)
    out, _ = refused.communicate(timeout=300)
    assert refused.returncode == 4 and b"is not empty" in out
    assert len(os.listdir(tree)) == FILES


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("{base}/home-b/agent/x", "own files"),
        ("{base}", "own files"),
        ("/etc/bcs-test-nothing", "belongs to the system"),
        ("{base}/.hidden/x", "hidden place"),
        ("{base}/file/x", "not a directory"),
    ],
)
def test_a_host_refuses_what_it_must_not_write_to(hosts: Hosts, target: str, why: str) -> None:
    (hosts.base / "file").write_bytes(b"")
    tree = hosts.base / "tree"
    tree.mkdir()
    (tree / "f").write_bytes(b"f")
    hosts.site.protect(ADDRESS, tree)
    hosts.site.wait_protected(ADDRESS)
    where = target.format(base=hosts.base)
    refused = hosts.restore(Path(where))
    out, _ = refused.communicate(timeout=300)
    assert refused.returncode in (2, 4) and why in json.loads(out)["error"]["message"], out


def test_nothing_begins_for_someone_who_gave_up(hosts: Hosts) -> None:
    tree = hosts.base / "tree"
    tree.mkdir()
    (tree / "f").write_bytes(b"f")
    hosts.site.protect(ADDRESS, tree)
    hosts.site.wait_protected(ADDRESS)
    body = json.dumps({"address": ADDRESS, "host": "b", "dir": str(hosts.base / "no")}).encode()
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(hosts.site.socket))
        head = f"POST /v1/restores HTTP/1.1\r\nHost: n\r\nContent-Length: {len(body)}\r\n\r\n"
        asking.sendall(head.encode() + body)
    for _ in range(3):  # as long as it takes to work out as many plans after it
        hosts.site.json("restore", ADDRESS, "--to", f"b:{hosts.base}/no", "--dry-run")
    assert hosts.site.request("GET", "/v1/restores")["restores"] == []
    assert [act for act in acts(hosts.site.home) if act["what"] == "restoring"] == []


def test_what_is_protected_and_a_host_without_an_agent_are_refused(hosts: Hosts) -> None:
    tree, own = hosts.base / "tree", hosts.base / "own"
    for folder in (tree, own):
        folder.mkdir()
        (folder / "f").write_bytes(b"f")
    hosts.site.protect(ADDRESS, tree)
    hosts.site.protect("g/b/files", own)
    hosts.site.wait_protected(ADDRESS)
    hosts.site.wait_protected("g/b/files")
    refused = hosts.restore(own / "new")
    out, _ = refused.communicate(timeout=300)
    assert refused.returncode == 4 and "is protected itself" in json.loads(out)["error"]["message"]
    done = hosts.site.run("restore", ADDRESS, "--to", "c:/srv/x", "--json", check=False)
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 4 and "no agent of host 'c'" in error["message"] and "agent.hosts" in error["hint"]
