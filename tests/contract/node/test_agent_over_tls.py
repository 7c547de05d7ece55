"""A real agent and a real node over TLS: enrolment, renewal, revocation, another node's URL, and their messages."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.agent.host.where import Remote
from engine.agent.ship.client import HttpNode
from engine.agent.ship.pace import Pace
from engine.env.endpoint import connect, request_json
from engine.identity import requests
from engine.model.errors import Unauthenticated
from tests.embedded import ROOT
from tests.nodes import Writer, acts, apply, file_of, source, wait_for
from tests.ports import free_port
from tests.secured import HOST, SecuredNode, secured_node

SECONDS = 120


class AgentProcess:
    """An agent of a host, as its service starts it."""

    def __init__(self, home: Path, node: SecuredNode) -> None:
        self.home, self.node, self.identity = home, node, home / "identity"
        self.identity.mkdir(parents=True)
        (self.identity / "site-ca.pem").write_text(node.ca_pem)
        self.process: subprocess.Popen[bytes] | None = None

    def enrol(self) -> None:
        told = self.node.admin("POST", "/v1/enrolments", {"host": HOST}).json
        (self.identity / "enrolment").write_text(told["token"] + "\n")

    def start(self, *urls: str) -> None:
        command = [sys.executable, "-m", "engine.agent", "agent", "--home", str(self.home), "--host", HOST]
        for url in urls or (self.node.url,):
            command += ["--node", url]
        with (self.home / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)
            self.process = None

    def log(self) -> str:
        return (self.home / "agent.log").read_text(errors="replace")

    def certificate(self) -> bytes:
        path = self.identity / "host.pem"
        return path.read_bytes() if path.exists() else b""


@contextmanager
def agent_of(home: Path, node: SecuredNode) -> Iterator[AgentProcess]:
    agent = AgentProcess(home, node)
    try:
        yield agent
    finally:
        agent.stop()


def row(node: SecuredNode) -> dict[str, Any]:
    return dict(node.admin("GET", "/v1/status").json["groups"][0]["sources"][0])


def protected(node: SecuredNode, what: str = "the source to be protected") -> None:
    wait_for(lambda: row(node)["protected"] == "protected", SECONDS, what)


def taken(node: SecuredNode, before: str) -> None:
    """A point after the one given is there."""
    wait_for(lambda: row(node)["point"] != before, SECONDS, f"a point after {before}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "file").write_text("content")
    return folder


def test_an_agents_whole_life(tmp_path: Path, tree: Path) -> None:
    with secured_node(tmp_path / "site", certificate_seconds=12) as node, agent_of(tmp_path / "a", node) as agent:
        apply(node, source(f"g/{HOST}/files", str(tree)))
        agent.start()
        wait_for(lambda: "has no certificate: run `bcsctl apply` again" in agent.log(), SECONDS, "the message")
        agent.enrol()  # while it runs
        protected(node)
        assert sorted(path.name for path in agent.identity.iterdir()) == [
            "host.key", "host.pem", "life.json", "site-ca.pem",
        ]  # fmt: skip
        assert (agent.identity / "host.key").stat().st_mode & 0o777 == 0o600
        first, key = agent.certificate(), (agent.identity / "host.key").read_bytes()
        wait_for(lambda: agent.certificate() != first, SECONDS, "a renewal")
        point = row(node)["point"]
        (tree / "file").write_text("after the renewal")
        taken(node, point)
        assert (agent.identity / "host.key").read_bytes() == key

        node.admin("POST", "/v1/certificates/revoke", {"host": HOST})
        told = "was revoked: `bcsctl apply --readmit web1` lets it in again"
        wait_for(lambda: told in agent.log(), SECONDS, "the message")
        wait_for(lambda: agent.certificate() == b"", SECONDS, "the certificate to be put away")
        (tree / "file").write_text("while it is revoked")
        point = row(node)["point"]
        agent.enrol()
        taken(node, point)
        assert (agent.identity / "host.key").read_bytes() != key
        issued = [act["details"]["how"] for act in acts(node.home) if act["what"] == "certificate-issued"]
        assert (issued[:2], issued[-1]) == (["enrolled", "renewed"], "enrolled")


def test_the_first_node_that_can_be_reached_is_asked(tmp_path: Path, tree: Path) -> None:
    with secured_node(tmp_path / "site") as node, agent_of(tmp_path / "a", node) as agent:
        apply(node, source(f"g/{HOST}/files", str(tree)))
        agent.enrol()
        agent.start(f"https://127.0.0.1:{free_port()}", node.url)
        protected(node)


def test_a_used_enrolment_is_refused_in_words(tmp_path: Path) -> None:
    with secured_node(tmp_path / "site") as node, agent_of(tmp_path / "a", node) as agent:
        agent.enrol()
        token = (agent.identity / "enrolment").read_text()
        agent.start()
        wait_for(lambda: "enrolled as host" in agent.log(), SECONDS, "a certificate")
        agent.stop()
        for name in ("host.key", "host.pem", "life.json"):
            (agent.identity / name).unlink()
        (agent.identity / "enrolment").write_text(token)
        agent.start()
        wait_for(lambda: "was used already: run `bcsctl apply` again" in agent.log(), SECONDS, "the message")


def test_killed_in_the_middle_of_enrolling_it_goes_on(tmp_path: Path, tree: Path) -> None:
    """The key was made and the node has answered, but the answer was lost."""
    with secured_node(tmp_path / "site") as node, agent_of(tmp_path / "a", node) as agent:
        apply(node, source(f"g/{HOST}/files", str(tree)))
        agent.enrol()
        key = requests.new_key()
        (agent.identity / "enrolment.key").write_bytes(key)
        token = (agent.identity / "enrolment").read_text().strip()
        asked = {"token": token, "host": HOST, "csr": requests.request(key, HOST)}
        assert request_json(node.endpoint(), "POST", "/v1/enrol", asked)["certificate"]
        agent.start()
        protected(node)
        assert (agent.identity / "host.key").read_bytes() == key
        assert not (agent.identity / "enrolment.key").exists()


def test_the_nodes_own_certificate_is_renewed_while_it_serves(tmp_path: Path) -> None:
    def serial() -> str:
        connection = connect(node.endpoint(), 60)
        try:
            assert isinstance(connection.sock, ssl.SSLSocket)
            return str((connection.sock.getpeercert() or {})["serialNumber"])
        finally:
            connection.close()

    with secured_node(tmp_path / "site", certificate_seconds=10) as node:
        first, written = serial(), (node.home / "node" / "tls.pem").read_text()
        wait_for(lambda: serial() != first, SECONDS, "another certificate")
        assert (node.home / "node" / "tls.pem").read_text() != written
        assert (node.home / "node" / "tls.key").stat().st_mode & 0o777 == 0o600
        assert (node.home / "node" / "ca.pem").read_text() == node.ca_pem


def test_enrolments_and_revocations_survive_a_restart(tmp_path: Path) -> None:
    with secured_node(tmp_path / "site") as node:
        kept, gone = node.certify("kept"), node.certify("gone")
        node.admin("POST", "/v1/certificates/revoke", {"host": "gone"})
        told = node.admin("POST", "/v1/enrolments", {"host": "new"}).json
        before = node.ca_pem
        node.site.kill("node")
        node.site.start_node()
        assert node.ca_pem == before
        assert request_json(node.endpoint(kept), "GET", "/v1/agents/kept/desired")["sources"] == []
        with pytest.raises(Unauthenticated, match="was revoked"):
            request_json(node.endpoint(gone), "GET", "/v1/agents/gone/desired")
        asked = {"token": told["token"], "host": "new", "csr": requests.request(requests.new_key(), "new")}
        assert request_json(node.endpoint(), "POST", "/v1/enrol", asked)["certificate"]
        assert os.listdir(node.home / "journal" / "control" / "enrolled")


def test_batches_take_no_more_of_the_line_than_allowed(tmp_path: Path) -> None:
    with secured_node(tmp_path / "site") as node, agent_of(tmp_path / "a", node) as agent:
        writer = Writer(node, f"g/{HOST}/files", host=HOST).protect()
        certified = node.certify(HOST)
        for path, name in ((certified.key, "host.key"), (certified.certificate, "host.pem")):
            (agent.identity / name).write_bytes(path.read_bytes())
        client = HttpNode(Remote(agent.home, HOST, [node.url]), pace=Pace(400_000))
        try:
            client.hello(HOST, {})
            body = writer.batch(file_of(os.urandom(600_000)))
            began = time.monotonic()
            client.send(writer.stream, HOST, [body])
            sending_seconds = time.monotonic() - began
            assert sending_seconds > 1.2
            began = time.monotonic()
            client.hello(HOST, {})
            assert time.monotonic() - began < sending_seconds, "it was held up"
        finally:
            client.close()
