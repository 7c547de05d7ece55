"""Which relay takes a node's mails: `mail` in node.json, or BCS_MAIL_* in the environment, which wins.

{"host": "relay.example.org", "port": 587, "from": "bcs@example.org", "user": "bcs", "password_file": "/etc/bcs/mail",
"tls": "starttls"}. `tls` is starttls, tls (from the first byte) or none; by default starttls, but for a relay on this
host. A password never travels without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.model.errors import UsageError

STARTTLS, TLS, NO_TLS = "starttls", "tls", "none"
PORTS = {STARTTLS: 587, TLS: 465, NO_TLS: 25}
KEYS = ("host", "port", "from", "user", "password_file", "tls")
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class MailSettings:
    """`user` empty: the relay asks nobody who they are."""

    host: str
    port: int
    sender: str
    tls: str
    user: str = ""
    password_file: Path | None = None

    def password(self) -> str:
        """The first line of its file, read each time: it may be exchanged. Raises OSError."""
        if self.password_file is None:
            return ""
        return self.password_file.read_text("utf-8").partition("\n")[0].strip()


def read_mail(value: object, environment: Mapping[str, str], site: str) -> MailSettings | None:
    """The settings; None where no relay is named. Raises UsageError."""
    if value is not None and not isinstance(value, dict):
        raise UsageError("mail is an object", hint=f"with {', '.join(KEYS)}")
    told: dict[str, Any] = dict(value or {})
    for key in told:
        if key not in KEYS:
            raise UsageError(f"mail: there is no setting '{key}'", hint=f"known are {', '.join(KEYS)}")
    told |= {key: text for key in KEYS if (text := environment.get(f"BCS_MAIL_{key.upper()}"))}
    host = _text(told, "host", "")
    if not host:
        return None
    tls = _text(told, "tls", NO_TLS if host in HERE else STARTTLS)
    if tls not in PORTS:
        raise UsageError(f"mail: tls is '{tls}'", hint=f"it is one of {', '.join(PORTS)}")
    user, password_file = _text(told, "user", ""), _text(told, "password_file", "")
    if user and tls == NO_TLS and host not in HERE:
        raise UsageError("mail: a password would travel in the open", hint="set tls to starttls or tls")
    if bool(user) != bool(password_file):
        raise UsageError("mail: user and password_file belong together")
    sender = _text(told, "from", f"bcs@{site}.invalid" if host in HERE else "")
    if "@" not in sender or not sender.isprintable():
        raise UsageError(f"mail: from '{sender}' is no address", hint="write from: bcs@example.org")
    return MailSettings(
        host, _port(told, PORTS[tls]), sender, tls, user, Path(password_file) if password_file else None
    )


def _text(value: Mapping[str, Any], name: str, otherwise: str) -> str:
    found = value.get(name, otherwise)
    if not isinstance(found, str):
        raise UsageError(f"mail: {name} is not a text")
    return found


def _port(value: Mapping[str, Any], otherwise: int) -> int:
    try:
        port = int(value.get("port", otherwise))
    except (TypeError, ValueError):
        port = 0
    if not 0 < port < 65536:
        raise UsageError(f"mail: port {value.get('port')!r:.40} is not 1 to 65535")
    return port
