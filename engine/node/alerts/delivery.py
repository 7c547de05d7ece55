"""Send one message, once, to a webhook or a mail relay, within a time that the other side can't stretch.

TLS certificates are verified, against the system's authorities or SSL_CERT_FILE. Redirections are not followed: where
messages go is what the policy says. Nothing of a webhook's path is ever shown: it may be the secret.
"""

from __future__ import annotations

import base64
import http.client
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from engine.node.alerts.mail import STARTTLS, TLS, MailSettings

STEP_SECONDS = 10.0
"""For connecting, and between two bytes of an answer."""

WHOLE_SECONDS = 20.0
"""For all of it: a receiver that sends a byte now and then can't hold us longer."""

USER_AGENT = "bcs"
OWN_NAME = "bcs.invalid"


class NotDelivered(Exception):
    """A message did not reach its target, as far as we know. The text says why, in a line without secrets."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a sending may take, in seconds."""

    step_seconds: float = STEP_SECONDS
    whole_seconds: float = WHOLE_SECONDS


LIMITS = Limits()


def shown(type: str, to: str) -> str:
    """A target for logs and lists: of a webhook only where it is, never its path or login."""
    if type != "webhook":
        return to
    parts = urlsplit(to)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}/…"


def post_webhook(url: str, body: bytes, limits: Limits = LIMITS) -> None:
    """POST a JSON body; NotDelivered unless it was answered with 2xx in time."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise NotDelivered("its URL makes no sense") from None
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=limits.step_seconds, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=limits.step_seconds)
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Connection": "close"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _bounded(lambda: connection.sock, limits):
        try:
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    if 300 <= status < 400:
        raise NotDelivered(f"it was answered with {status}: a redirection, which is not followed")
    if not 200 <= status < 300:
        raise NotDelivered(f"it was answered with {status}")


def send_mail(mail: EmailMessage, settings: MailSettings | None, limits: Limits = LIMITS) -> None:
    """Hand a mail to the relay; NotDelivered unless the relay took it in time."""
    if settings is None:
        raise NotDelivered("no mail relay is named: set `mail` in node.json, or BCS_MAIL_HOST")
    relay = _relay(settings, limits)
    with _bounded(lambda: relay.sock, limits):
        try:
            relay.connect(settings.host, settings.port)
            if settings.tls == STARTTLS:
                relay.starttls(context=ssl.create_default_context())
            if settings.user:
                relay.login(settings.user, settings.password())
            refused = relay.send_message(mail)
        finally:
            with suppress(OSError, smtplib.SMTPException):
                relay.quit()
    if refused:
        raise NotDelivered("the relay refused the recipient")


class _Plain(smtplib.SMTP):
    """Connects when it is told to, so that the connection can be cut from the first moment on. `host` is whom TLS
    checks the certificate against."""

    def __init__(self, host: str, step_seconds: float) -> None:
        # Without a name of our own it would ask the DNS for one.
        super().__init__(local_hostname=OWN_NAME, timeout=step_seconds)
        self._host = host


class _Tls(smtplib.SMTP_SSL):
    """The same with TLS from the first byte."""

    def __init__(self, host: str, step_seconds: float) -> None:
        super().__init__(local_hostname=OWN_NAME, timeout=step_seconds, context=ssl.create_default_context())
        self._host = host


def _relay(settings: MailSettings, limits: Limits) -> smtplib.SMTP:
    kind = _Tls if settings.tls == TLS else _Plain
    return kind(settings.host, limits.step_seconds)


@contextmanager
def _bounded(opened: Callable[[], socket.socket | None], limits: Limits) -> Iterator[None]:
    """Cut the connection when the whole takes too long; every failure as NotDelivered."""
    over = threading.Event()

    def cut() -> None:
        over.set()
        with suppress(OSError):
            sock = opened()
            if sock is not None:
                sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limits.whole_seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except NotDelivered:
        raise
    except smtplib.SMTPResponseException as error:
        told = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise NotDelivered(f"the relay answered {error.smtp_code} {_line(told)}") from None
    except smtplib.SMTPRecipientsRefused:
        raise NotDelivered("the relay refused the recipient") from None
    except (OSError, smtplib.SMTPException, http.client.HTTPException, ValueError) as error:
        raise NotDelivered(_reason(error, over.is_set(), limits)) from None
    finally:
        timer.cancel()


def _reason(error: Exception, over: bool, limits: Limits) -> str:
    if over:
        return f"it took longer than {limits.whole_seconds:g} s"
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return f"nothing came for {limits.step_seconds:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {_line(error.verify_message)}"
    return _line(f"{type(error).__name__}: {error}")


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:200]
