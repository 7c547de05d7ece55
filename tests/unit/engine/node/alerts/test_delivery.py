"""One message, once: over plain and verified connections, to receivers that refuse, stall, drip and lie."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engine.node.alerts.delivery import Limits, NotDelivered, post_webhook, send_mail, shown
from engine.node.alerts.mail import MailSettings
from engine.node.alerts.messages import Message, Origin, mail_of
from tests.ports import free_port
from tests.receivers import mail_server, silent_server, web_server

QUICK = Limits(0.5, 1.5)
MESSAGE = Message("0123", "on-call", "mail", "ops@example.org", 0, ())
MAIL = mail_of(MESSAGE, Origin("sf", "n1", "All is well", 0), "bcs@example.org")


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context whose certificate, for 127.0.0.1, is an authority that this process trusts."""
    context = authority(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "127.0.0.1.pem"))
    return context


def authority(folder: Path, address: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / f"{address}.pem", folder / f"{address}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context


def refused(call: Callable[[], None]) -> str:
    with pytest.raises(NotDelivered) as told:
        call()
    text = str(told.value)
    assert "\n" not in text and "s3cret" not in text
    return text


def mail(port: int, **changes: object) -> MailSettings:
    return MailSettings(**{"host": "127.0.0.1", "port": port, "sender": "b@example.org", "tls": "none", **changes})  # type: ignore[arg-type]


def test_a_webhook(trusted: ssl.SSLContext) -> None:
    for context in (None, trusted):
        with web_server(context) as (url, got):
            post_webhook(url, b'{"a": 1}', QUICK)
            assert got.bodies == [{"a": 1}]
            assert got.headers[0]["Content-Type"] == "application/json"
            assert got.paths == ["/hook/s3cret?key=1"]


def test_a_login_in_a_url_becomes_a_header() -> None:
    with web_server() as (url, got):
        post_webhook(url.replace("://", "://ann:p%40ss@"), b"{}", QUICK)
        assert got.headers[0]["Authorization"] == "Basic YW5uOnBAc3M="


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
def test_any_other_answer_is_no_delivery(status: int) -> None:
    with web_server() as (url, got):
        got.answers = [status]
        told = refused(lambda: post_webhook(url, b"{}", QUICK))
        assert told.startswith(f"it was answered with {status}")
        assert got.tries == 1, "a redirection was followed"


def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: ssl.SSLContext) -> None:
    with web_server(authority(tmp_path, "127.0.0.2")) as (url, got):
        assert refused(lambda: post_webhook(url, b"{}", QUICK)).startswith("its certificate does not hold")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "127.0.0.2.pem"))
        assert "not valid for" in refused(lambda: post_webhook(url, b"{}", QUICK))
        assert got.tries == 0


@pytest.mark.parametrize(
    ("answer", "why"), [("stall", "nothing came for 0.5 s"), ("drip", "it took longer than 1.5 s")]
)
def test_no_receiver_can_hold_us(answer: str, why: str) -> None:
    with web_server() as (url, got):
        got.answers = [answer]
        begin = time.monotonic()
        assert refused(lambda: post_webhook(url, b"{}", QUICK)) == why
        assert time.monotonic() - begin < 60


def test_nobody_there() -> None:
    assert "refused" in refused(lambda: post_webhook(f"http://127.0.0.1:{free_port()}/s3cret", b"{}", QUICK))
    assert "its URL makes no sense" in refused(lambda: post_webhook("http://[::1/s3cret", b"{}", QUICK))


def test_a_mail() -> None:
    with mail_server() as (port, got):
        send_mail(MAIL, mail(port), QUICK)
    [came] = got.mails
    assert (came["To"], came["From"], came["Subject"]) == ("ops@example.org", "bcs@example.org", "[bcs sf] a test")
    assert came["Message-ID"] == "<0123@sf.bcs>" and came["Auto-Submitted"] == "auto-generated"


def test_a_mail_over_tls_with_a_login(tmp_path: Path, trusted: ssl.SSLContext) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    settings = {"user": "bcs", "password_file": tmp_path / "password", "tls": "starttls"}
    with mail_server(trusted, ("bcs", "hunter2")) as (port, got):
        send_mail(MAIL, mail(port, **settings), QUICK)
        assert len(got.mails) == 1 and got.logins == [("bcs", "hunter2")]
        (tmp_path / "password").write_text("other\n")
        told = refused(lambda: send_mail(MAIL, mail(port, **settings)))
        assert told.startswith("the relay answered 535") and "other" not in told
        (tmp_path / "password").unlink()
        assert "password" in refused(lambda: send_mail(MAIL, mail(port, **settings), QUICK))


def test_a_relay_without_tls_gets_no_mail_that_asks_for_it() -> None:
    with mail_server() as (port, got):
        assert "STARTTLS" in refused(lambda: send_mail(MAIL, mail(port, tls="starttls"), QUICK))
        assert got.mails == []


def test_a_relays_certificate_is_verified(tmp_path: Path, trusted: ssl.SSLContext) -> None:
    with mail_server(authority(tmp_path, "127.0.0.2")) as (port, got):
        told = refused(lambda: send_mail(MAIL, mail(port, tls="starttls"), QUICK))
        assert told.startswith("its certificate does not hold")
        assert got.mails == []


def test_relays_that_refuse_stall_and_drip() -> None:
    with mail_server() as (port, got):
        got.codes = ["554 no spam"]
        assert refused(lambda: send_mail(MAIL, mail(port), QUICK)) == "the relay answered 554 no spam"
    with silent_server() as port:
        assert refused(lambda: send_mail(MAIL, mail(port), QUICK)) == "nothing came for 0.5 s"
    with silent_server([b"220 slow\r\n"]) as port:
        assert "0.5 s" in refused(lambda: send_mail(MAIL, mail(port), QUICK))
    assert "refused" in refused(lambda: send_mail(MAIL, mail(free_port()), QUICK))
    assert "no mail relay is named" in refused(lambda: send_mail(MAIL, None, QUICK))


def test_what_is_shown_of_a_target() -> None:
    assert (
        shown("webhook", "https://ann:pw@hooks.example.org:8443/T0/B0/s3cret?x=1") == "https://hooks.example.org:8443/…"
    )
    assert shown("mail", "ops@example.org") == "ops@example.org"
