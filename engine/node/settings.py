"""What a deployed node is told: BCS_HOME/node/node.json, written with the node. Without it an embedded site's values.

{"site": "sf", "host": "sf-bcs1", "urls": ["https://sf-bcs1:8440"], "listen": "0.0.0.0:8440", "journal": "/var/…",
"master_key": "/etc/bcs/master.key", "commit_every": microseconds, "certificate_seconds": 604800, "mail": {…}};
any may be left out. `mail` is what `engine.node.alerts.mail` says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from engine.env.endpoint import host_and_port
from engine.model.errors import UsageError
from engine.model.times import DAY, SECOND
from engine.node.alerts.mail import MailSettings, read_mail

CERTIFICATE_SECONDS = 7 * DAY // SECOND
CERTIFICATE_SECONDS_MIN = 10


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """A node's settings. `listen` is `ADDRESS:PORT`, empty where only the Unix socket is served; `commit_every` is in
    microseconds, 0 where the store decides."""

    journal: Path
    master_key: Path
    site: str = "local"
    host: str = "localhost"
    urls: tuple[str, ...] = ()
    listen: str = ""
    commit_every: int = 0
    certificate_seconds: int = CERTIFICATE_SECONDS
    mail: MailSettings | None = None


def settings_path(home: Path) -> Path:
    return home / "node" / "node.json"


def read_settings(home: Path) -> NodeSettings:
    """The settings of the node at `home`. UsageError, naming file and key, for what makes no sense."""
    path = settings_path(home)
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        value = {}
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is not a JSON object")
    try:
        return _settings(home, value)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None


def _settings(home: Path, value: Mapping[str, Any]) -> NodeSettings:
    known = {field.name for field in fields(NodeSettings)}
    for name in value:
        if name not in known:
            raise UsageError(f"there is no setting '{name}'", hint=f"known are {', '.join(sorted(known))}")
    urls = value.get("urls", [])
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise UsageError("urls is a list of URLs")
    for url in urls:
        host_and_port(url)
    if value.get("listen"):
        listen_address(_text(value, "listen", ""))
    seconds = _whole(value, "certificate_seconds", CERTIFICATE_SECONDS)
    if seconds < CERTIFICATE_SECONDS_MIN:
        raise UsageError(f"certificate_seconds {seconds} is less than {CERTIFICATE_SECONDS_MIN}")
    return NodeSettings(
        journal=Path(_text(value, "journal", str(home / "journal"))),
        master_key=Path(_text(value, "master_key", str(home / "keys" / "master.key"))),
        site=_text(value, "site", "local"),
        host=_text(value, "host", "localhost"),
        urls=tuple(urls),
        listen=_text(value, "listen", ""),
        commit_every=_whole(value, "commit_every", 0),
        certificate_seconds=seconds,
        mail=read_mail(value.get("mail"), os.environ, _text(value, "site", "local")),
    )


def listen_address(text: str) -> tuple[str, int]:
    """Address and port of `ADDRESS:PORT`; an IPv6 address stands in brackets. Port 0: any that is free."""
    address, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or not address:
        raise UsageError(f"listen '{text}' is not ADDRESS:PORT", hint="write it as 0.0.0.0:8440, or [::]:8440")
    return address.strip("[]"), int(port)


def _text(value: Mapping[str, Any], name: str, otherwise: str) -> str:
    found = value.get(name, otherwise)
    if not isinstance(found, str):
        raise UsageError(f"{name} is {json.dumps(found)[:80]}, not a text")
    return found


def _whole(value: Mapping[str, Any], name: str, otherwise: int) -> int:
    found = value.get(name, otherwise)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise UsageError(f"{name} is {json.dumps(found)[:80]}, not a whole number from 0 on")
    return found
