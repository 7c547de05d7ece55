"""Which relay takes a node's mails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.model.errors import UsageError
from engine.node.alerts.mail import MailSettings, read_mail
from engine.node.settings import read_settings

WHOLE = {
    "host": "relay.example.org", "port": 587, "from": "bcs@example.org", "user": "bcs",
    "password_file": "/etc/bcs/mail",
}  # fmt: skip


def test_none_is_named() -> None:
    assert read_mail(None, {}, "sf") is None
    assert read_mail({}, {"BCS_MAIL_PORT": "25"}, "sf") is None


def test_as_written() -> None:
    assert read_mail(WHOLE, {}, "sf") == MailSettings(
        "relay.example.org", 587, "bcs@example.org", "starttls", "bcs", Path("/etc/bcs/mail")
    )


def test_defaults() -> None:
    assert read_mail({"host": "localhost"}, {}, "sf") == MailSettings("localhost", 25, "bcs@sf.invalid", "none")
    remote = read_mail({"host": "r.example.org", "from": "a@b"}, {}, "sf")
    assert remote == MailSettings("r.example.org", 587, "a@b", "starttls")
    assert read_mail({"host": "r", "from": "a@b", "tls": "tls"}, {}, "sf") == MailSettings("r", 465, "a@b", "tls")


def test_the_environment_wins() -> None:
    variables = {"BCS_MAIL_HOST": "127.0.0.1", "BCS_MAIL_PORT": "2525", "BCS_MAIL_TLS": "none", "BCS_MAIL_FROM": "x@y"}
    found = read_mail(WHOLE, variables, "sf")
    assert found == MailSettings("127.0.0.1", 2525, "x@y", "none", "bcs", Path("/etc/bcs/mail"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hots": "x"}, "there is no setting 'hots'"),
        ({"port": 0}, "port 0 is not"),
        ({"port": "many"}, "port 'many' is not"),
        ({"tls": "ssl3"}, "tls is 'ssl3'"),
        ({"tls": "none"}, "a password would travel in the open"),
        ({"password_file": ""}, "belong together"),
        ({"user": ""}, "belong together"),
        ({"from": "nobody"}, "from 'nobody' is no address"),
        ({"from": "a@b\nBcc: c@d"}, "is no address"),
        ({"host": 5}, "host is not a text"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as told:
        read_mail({**WHOLE, **changes}, {}, "sf")
    assert said in told.value.message


def test_in_node_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "node.json").write_text('{"site": "sf", "mail": {"host": "localhost"}}')
    assert read_settings(tmp_path).mail == MailSettings("localhost", 25, "bcs@sf.invalid", "none")
    monkeypatch.setenv("BCS_MAIL_TLS", "maybe")
    with pytest.raises(UsageError, match=r"node\.json: mail: tls is 'maybe'"):
        read_settings(tmp_path)


def test_a_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("  hunter2 \nrest\n")
    assert MailSettings("h", 25, "a@b", "tls", "u", tmp_path / "password").password() == "hunter2"
    assert MailSettings("h", 25, "a@b", "tls").password() == ""
