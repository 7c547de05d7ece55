"""Receivers of notifications on loopback: a web server and a mail server, which can also fail, stall and go away."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message as Mail
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.ports import free_port


@dataclass
class Got:
    """What came, in order. `answers` are given to the next requests: a status, `stall` or `drip`; then 200 again."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: list[int | str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    tries: int = 0

    def wait(self, count: int, seconds: float = 120.0) -> list[dict[str, Any]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.bodies) >= count, seconds), (
                f"{len(self.bodies)} of {count} came"
            )
        return self.bodies

    def wait_tries(self, count: int, seconds: float = 120.0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.tries >= count, seconds), f"{self.tries} of {count} tries"


@contextmanager
def web_server(context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[tuple[str, Got]]:
    """(URL, what it got)."""
    got = Got()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with got.changed:
                got.tries += 1
                answer = got.answers.pop(0) if got.answers else 200
                got.changed.notify_all()
            if answer == "stall":
                got.released.wait(30)
                return
            if answer == "drip":
                for _ in range(300):
                    if got.released.wait(0.1):
                        return
                    self.wfile.write(b"X")
                return
            if answer == 200:
                with got.changed:
                    got.bodies.append(json.loads(body))
                    got.headers.append(dict(self.headers))
                    got.paths.append(self.path)
                    got.changed.notify_all()
            self.send_response(int(answer))
            if 300 <= int(answer) < 400:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", port), Answering)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/hook/s3cret?key=1", got
    finally:
        got.released.set()
        server.shutdown()
        server.server_close()


@dataclass
class Mails:
    """`codes` are answered to the next mails instead of taking them."""

    mails: list[Mail] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int, seconds: float = 120.0) -> list[Mail]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.mails) >= count, seconds), (
                f"{len(self.mails)} of {count} came"
            )
        return self.mails

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        with self.changed:
            if self.codes:
                return self.codes.pop(0)
            assert isinstance(envelope.content, bytes)
            self.mails.append(BytesParser(policy=default).parsebytes(envelope.content))
            self.changed.notify_all()
        return "250 taken"


@contextmanager
def mail_server(
    context: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
) -> Iterator[tuple[int, Mails]]:
    """(port, what it got). With `context` it wants STARTTLS, with `login` that user and password."""
    got = Mails()

    def asked(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        got.logins.append(given)
        return AuthResult(success=given == login, handled=False)

    options: dict[str, Any] = {"require_starttls": True, "tls_context": context} if context else {}
    if login:
        options |= {"auth_required": True, "authenticator": asked, "auth_require_tls": context is not None}
    controller = Controller(got, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port, got
    finally:
        controller.stop()


@contextmanager
def silent_server(greeting: Sequence[bytes] = ()) -> Iterator[int]:
    """A port that takes connections and says no more than a greeting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                kept.append(connection)
                for part in greeting:
                    connection.sendall(part)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()
