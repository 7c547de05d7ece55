"""Who comes with which certificate, over real TLS: whoever is not the host is turned away, and it is written down."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.env.endpoint import TlsEndpoint, connect, request_json
from engine.identity import contexts, requests
from engine.identity.authority import issue_to_host, make_authority
from engine.model.errors import BcsError, NotAuthorised, Unauthenticated, Unreachable
from tests.nodes import Writer, file_of, wait_for
from tests.secured import (
    HOST,
    OTHER,
    SecuredNode,
    certificate_of,
    desired,
    raw,
    recorded,
)


@pytest.mark.usefixtures("still_good")
def test_without_a_certificate_nothing_of_an_agent_is_to_be_had(node: SecuredNode, good: Writer) -> None:
    with pytest.raises(Unauthenticated):
        desired(node, None)
    connection = connect(node.endpoint(), 60)
    connection.request("POST", f"/v1/streams/{good.stream}/batches?host={HOST}", b"x")
    assert connection.getresponse().status == 401
    connection.close()
    recorded(node, "access-refused", "unauthenticated")


@pytest.mark.usefixtures("still_good")
def test_another_authoritys_certificate_ends_the_handshake(node: SecuredNode, tmp_path: Path) -> None:
    foreign, _ = make_authority("test", 1_700_000_000_000_000)
    now = time.time_ns() // 1000
    who = certificate_of(tmp_path, node.ca_pem, lambda csr: issue_to_host(foreign, "test", HOST, csr, 3600, now).pem)
    with pytest.raises(Unauthenticated, match="issued by another authority"):
        desired(node, who)
    recorded(node, "connection-refused", "another-authority")


@pytest.mark.usefixtures("still_good")
def test_an_expired_certificate_ends_the_handshake_and_the_agent_hears_why(node: SecuredNode, tmp_path: Path) -> None:
    authority = node.authority()
    now = time.time_ns() // 1000
    who = certificate_of(tmp_path, node.ca_pem, lambda csr: issue_to_host(authority, "test", HOST, csr, -60, now).pem)
    with pytest.raises(Unauthenticated, match="expired"):
        desired(node, who)
    recorded(node, "connection-refused", "expired")


@pytest.mark.usefixtures("still_good")
def test_a_certificate_that_ends_while_its_connection_is_open(node: SecuredNode, tmp_path: Path) -> None:
    authority = node.authority()
    now = time.time_ns() // 1000
    who = certificate_of(tmp_path, node.ca_pem, lambda csr: issue_to_host(authority, "test", HOST, csr, 2, now).pem)
    connection = connect(node.endpoint(who), 60)

    def status() -> int:
        if connection.sock is None:
            return 401
        connection.request("GET", f"/v1/agents/{HOST}/desired")
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200 or told["error"]["code"] == "unauthenticated"
        return answer.status

    assert status() == 200
    wait_for(lambda: status() == 401, 120, "the certificate to end")
    recorded(node, "certificate-refused", "expired")


@pytest.mark.usefixtures("still_good")
def test_a_certificate_of_another_sites_name(node: SecuredNode, tmp_path: Path) -> None:
    authority = node.authority()
    now = time.time_ns() // 1000
    who = certificate_of(tmp_path, node.ca_pem, lambda csr: issue_to_host(authority, "other", HOST, csr, 60, now).pem)
    with pytest.raises((Unreachable, Unauthenticated)):
        desired(node, who)
    recorded(node, "connection-refused", "strange")


@pytest.mark.usefixtures("still_good")
def test_another_hosts_certificate_reaches_nothing_of_this_one(node: SecuredNode, good: Writer) -> None:
    other = node.certify(OTHER)
    with pytest.raises(NotAuthorised):
        desired(node, other)
    with pytest.raises(NotAuthorised):
        request_json(node.endpoint(other), "POST", f"/v1/agents/{HOST}/status", {})
    with pytest.raises(NotAuthorised):
        request_json(node.endpoint(other), "POST", f"/v1/agents/{HOST}/certificate", {"csr": "x"})
    recorded(node, "access-refused", "not-authorised")
    assert desired(node, other, OTHER)["sources"] == []
    for path in ("/v1/policies", "/v1/enrolments", "/v1/certificates/revoke", "/v1/audit"):
        with pytest.raises(NotAuthorised):
            request_json(node.endpoint(other), "POST", path, {"host": HOST})
    for path in ("/v1/status", "/v1/streams", "/v1/certificates", f"/v1/streams/{good.stream}/ls"):
        with pytest.raises(NotAuthorised):
            request_json(node.endpoint(other), "GET", path)


@pytest.mark.usefixtures("still_good")
def test_another_agents_stream_is_neither_opened_nor_written(node: SecuredNode, good: Writer) -> None:
    thief = SecuredNode(node.site)
    thief.port, thief.who = node.port, node.certify(OTHER)
    body = good.batch(file_of(b"not mine"), lsn_first=good.lsn + 1)
    for host in (HOST, OTHER):
        told = replace(good, node=thief).post(body, host=host)
        assert told.status == 403, told.text
        asked = {"host": host, "writer": "thief", "record": None}
        assert thief.call("POST", f"/v1/streams/{good.stream}/open", asked).status == 403
    recorded(node, "batch-refused", "foreign")


@pytest.mark.usefixtures("still_good")
def test_revoked_counts_at_once_on_open_connections_too(node: SecuredNode) -> None:
    who = node.certify("web3")
    connection = connect(node.endpoint(who), 60)
    connection.request("GET", "/v1/agents/web3/desired")
    assert connection.getresponse().read()
    revoked = node.admin("POST", "/v1/certificates/revoke", {"host": "web3"})
    assert (revoked.status, revoked.json["known"]) == (201, True)
    assert node.admin("POST", "/v1/certificates/revoke", {"host": "wbe3"}).json["known"] is False
    connection.request("GET", "/v1/agents/web3/desired")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert "was revoked" in answer.read().decode()
    with pytest.raises(Unauthenticated, match="was revoked"):
        desired(node, who, "web3")
    with pytest.raises(Unauthenticated):
        request_json(node.endpoint(who), "POST", "/v1/agents/web3/certificate", {"csr": "x"})
    recorded(node, "certificate-refused", "revoked")
    row = next(row for row in node.admin("GET", "/v1/certificates").json["certificates"] if row["host"] == "web3")
    assert row["revoked"] and row["revoked_at"]
    again = node.certify("web3")  # a new enrolment counts again
    assert desired(node, again, "web3")["sources"] == []
    with pytest.raises(Unauthenticated):
        desired(node, who, "web3")


@pytest.mark.usefixtures("still_good")
def test_a_renewal_that_was_begun_before_a_revocation_comes_too_late(node: SecuredNode) -> None:
    who = node.certify("web7")
    body = json.dumps({"csr": requests.request(who.key.read_bytes(), "web7")}).encode()
    connection = connect(node.endpoint(who), 60)
    connection.putrequest("POST", "/v1/agents/web7/certificate")
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body[:10])
    wait_for(lambda: desired(node, who, "web7")["sources"] == [], 120, "the node to have heard the head too")
    assert node.admin("POST", "/v1/certificates/revoke", {"host": "web7"}).status == 201
    connection.send(body[10:])
    answer = connection.getresponse()
    assert answer.status == 401, answer.read()
    connection.close()


@pytest.mark.usefixtures("still_good")
def test_who_is_revoked_while_waiting_is_told_that_and_nothing_else(node: SecuredNode) -> None:
    who = node.certify("web8")
    connection = connect(node.endpoint(who), 60)
    generation = desired(node, who, "web8")["generation"]
    connection.request("GET", f"/v1/agents/web8/desired?generation={generation}&wait=25")
    assert node.admin("POST", "/v1/certificates/revoke", {"host": "web8"}).status == 201
    begun = time.monotonic()
    answer = connection.getresponse()
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert "was revoked" in answer.read().decode() and time.monotonic() - begun < 15
    connection.close()


def test_host_names_are_checked_against_the_sites_authority_alone(node: SecuredNode, good: Writer) -> None:
    with raw(node) as connected, pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        contexts.client(node.ca_pem).wrap_socket(connected, server_hostname="elsewhere")
    foreign, _ = make_authority("test", 1_700_000_000_000_000)
    with pytest.raises(Unreachable, match="not trusted"):
        request_json(TlsEndpoint((node.url,), contexts.client(foreign.pem)), "GET", "/v1/x")


def test_an_agents_certificate_serves_nobody(node: SecuredNode) -> None:
    """A host that was taken over can't pass for a node."""
    who = node.certify("web4")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(who.certificate, who.key)
    ours, theirs = socket.socketpair()
    client = contexts.client(node.ca_pem)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    pretending = server.wrap_bio(incoming, outgoing, server_side=True)
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, forth, server_hostname="web4")
    with ours, theirs, pytest.raises(ssl.SSLCertVerificationError):
        for _ in range(5):
            for side, other_in, out in ((asking, incoming, forth), (pretending, back, outgoing)):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                other_in.write(out.read())


def test_enrolments_count_once_for_one_host_and_one_key(node: SecuredNode, good: Writer) -> None:
    told = node.admin("POST", "/v1/enrolments", {"host": "web5", "seconds": 60}).json
    assert told["known"] is False  # so that a name mistyped shows
    key = requests.new_key()
    asked = {"token": told["token"], "host": "web5", "csr": requests.request(key, "web5")}

    def enrol(**other: str) -> dict[str, Any]:
        return request_json(node.endpoint(), "POST", "/v1/enrol", {**asked, **other})

    with pytest.raises(Unauthenticated, match="not for host 'web6'"):
        enrol(host="web6")
    with pytest.raises(Unauthenticated, match="nobody was given"):
        enrol(token=told["token"][:-1] + ("0" if told["token"][-1] != "0" else "1"))
    with pytest.raises(BcsError, match="no request for a certificate"):
        enrol(csr="garbage")
    assert enrol()["certificate"] != enrol()["certificate"]  # the answer may have been lost
    with pytest.raises(Unauthenticated, match="was used already"):
        enrol(csr=requests.request(requests.new_key(), "web5"))
    short = node.admin("POST", "/v1/enrolments", {"host": "web5", "seconds": 1}).json
    wait_for(lambda: time.time_ns() // 1000 > short["expires_at"], 120, "the enrolment to end")
    with pytest.raises(Unauthenticated, match="has ended"):
        enrol(token=short["token"])
    revoked = node.admin("POST", "/v1/enrolments", {"host": "web5"}).json
    assert revoked["known"] is True
    node.admin("POST", "/v1/certificates/revoke", {"host": "web5"})
    with pytest.raises(Unauthenticated, match="was revoked after"):
        enrol(token=revoked["token"])
    recorded(node, "enrol-refused", "unauthenticated")
    kept = b"".join(path.read_bytes() for path in (node.home / "journal" / "control").rglob("*.json"))
    assert told["token"].split("_")[2].encode() not in kept
