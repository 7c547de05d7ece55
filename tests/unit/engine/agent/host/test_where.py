"""Where an agent asks, and what it shows there."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.agent.host.where import Local, Remote, find
from engine.env.endpoint import TlsEndpoint, UnixEndpoint
from engine.identity import requests
from engine.identity.authority import issue_to_host, make_authority
from engine.model.errors import Unauthenticated, UsageError

NOW = 1_790_000_000_000_000
URLS = ("https://a:1", "https://b:2")
REVOKED = Unauthenticated("revoked", details={"kind": "revoked"})


def certify(home: Path, serial_at: int = NOW) -> None:
    folder = home / "identity"
    folder.mkdir(exist_ok=True)
    authority, _ = make_authority("s", serial_at)
    key = requests.new_key()
    issued = issue_to_host(authority, "s", "h", requests.request(key, "h"), 3600, serial_at)
    (folder / "site-ca.pem").write_text(authority.pem)
    (folder / "host.key").write_bytes(key)
    (folder / "host.pem").write_text(issued.pem)


def endpoint(where: Remote) -> TlsEndpoint:
    found = where.endpoint()
    assert isinstance(found, TlsEndpoint)
    return found


def test_a_socket_unless_urls_are_given(tmp_path: Path) -> None:
    for socket, path in ((None, tmp_path / "run" / "node.sock"), (tmp_path / "s", tmp_path / "s")):
        where = find(tmp_path, "h", socket, [])
        assert isinstance(where, Local) and where.endpoint() == UnixEndpoint(path)
        assert where.arguments() == ["--socket", str(path)]
    where = find(tmp_path, "h", None, URLS)
    assert isinstance(where, Remote)
    assert where.arguments() == ["--node", URLS[0], "--node", URLS[1]]
    with pytest.raises(UsageError):
        find(tmp_path, "h", None, ["http://a"])


def test_without_a_certificate_it_says_what_to_do(tmp_path: Path) -> None:
    where = Remote(tmp_path, "h", URLS)
    with pytest.raises(Unauthenticated, match="host 'h' has no certificate") as raised:
        where.endpoint()
    assert raised.value.hint == "run `bcsctl apply` again"
    certify(tmp_path)
    assert endpoint(where).urls == URLS


def test_another_certificate_makes_another_context_and_nothing_else_does(tmp_path: Path) -> None:
    certify(tmp_path)
    where = Remote(tmp_path, "h", URLS)
    first = endpoint(where)
    assert endpoint(where) is first
    certify(tmp_path, NOW + 1)
    assert endpoint(where).context is not first.context


def test_who_was_reached_last_is_asked_first_on_connections_that_stay(tmp_path: Path) -> None:
    certify(tmp_path)
    where = Remote(tmp_path, "h", URLS)
    first = endpoint(where)
    where.reached("a", 1)
    assert endpoint(where) is first
    where.reached("b", 2)
    assert endpoint(where).urls == ("https://b:2", "https://a:1")
    assert endpoint(where).context is first.context
    where.reached("elsewhere", 3)
    assert endpoint(where).urls == ("https://b:2", "https://a:1")


def test_a_revoked_certificate_is_put_away_but_never_a_newer_one(tmp_path: Path) -> None:
    certify(tmp_path)
    where = Remote(tmp_path, "h", URLS)
    old = endpoint(where)
    where.refused(old, Unauthenticated("expired", details={"kind": "expired"}))
    assert where.files.certificate.exists()
    certify(tmp_path, NOW + 1)
    where.refused(old, REVOKED)
    assert where.files.certificate.exists()
    where.refused(endpoint(where), REVOKED)
    assert not where.files.certificate.exists()
    with pytest.raises(Unauthenticated):
        where.endpoint()
