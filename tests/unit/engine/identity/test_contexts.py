"""What a client of a site trusts: its authority, the name it asked for, now, and TLS 1.3. Over real sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.env.endpoint import TlsEndpoint, request_json
from engine.identity import contexts
from engine.identity.authority import Authority, issue_to_node, make_authority
from engine.model.errors import Failed, Unreachable

HOUR = 3600
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n" + b'{"here": true}'


def now() -> int:
    return time.time_ns() // 1000


@contextlib.contextmanager
def serving(context: ssl.SSLContext) -> Iterator[str]:
    """A server of one connection at a time; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connected, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), connected, context.wrap_socket(connected, server_side=True) as peer:
                    peer.recv(65536)
                    peer.sendall(ANSWER)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(120)


def files(folder: Path, authority: Authority, *names: str, at: int = 0, seconds: int = HOUR) -> tuple[Path, Path]:
    issued, key = issue_to_node(authority, "s", "n", names, seconds, at or now())
    (folder / "pem").write_text(issued.pem)
    (folder / "key").write_text(key)
    return folder / "pem", folder / "key"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("s", now())[0]


def ask(url: str, authority: Authority) -> object:
    return request_json(TlsEndpoint((url,), contexts.client(authority.pem)), "GET", "/x", timeout_seconds=60)


def test_the_sites_own_node_is_trusted(tmp_path: Path, authority: Authority) -> None:
    with serving(contexts.server(authority.pem, *files(tmp_path, authority, "127.0.0.1"))) as url:
        assert ask(url, authority) == {"here": True}


@pytest.mark.parametrize(
    ("names", "at_days", "message"),
    [
        (("other.example", "127.0.0.2"), 0, "IP address mismatch"),
        (("127.0.0.1",), -1, "expired: is this machine's clock right"),
        (("127.0.0.1",), 3, "not yet valid: is this machine's clock right"),
    ],
)
def test_who_is_not_trusted_and_why(
    tmp_path: Path, authority: Authority, names: tuple[str, ...], at_days: int, message: str
) -> None:
    own = files(tmp_path, authority, *names, at=now() + at_days * 24 * HOUR * 1_000_000)
    with serving(contexts.server(authority.pem, *own)) as url, pytest.raises(Unreachable, match=message):
        ask(url, authority)


def test_another_authority_is_not_trusted_whatever_its_name(tmp_path: Path, authority: Authority) -> None:
    other = make_authority("s", now())[0]
    own = contexts.server(other.pem, *files(tmp_path, other, "127.0.0.1"))
    with serving(own) as url, pytest.raises(Unreachable, match="its certificate is not trusted"):
        ask(url, authority)


def test_a_server_of_tls_1_2_is_not_spoken_to(tmp_path: Path, authority: Authority) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.load_cert_chain(*files(tmp_path, authority, "127.0.0.1"))
    with serving(old) as url, pytest.raises(Unreachable, match="tls: "):
        ask(url, authority)


def test_what_is_no_certificate_is_told_with_its_name(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "pem").write_text("x")
    with pytest.raises(Failed, match="can't be used"):
        contexts.client(authority.pem, tmp_path / "pem", tmp_path / "pem")
    with pytest.raises(Failed, match="authority can't be read"):
        contexts.client("x")
