"""Which sites this user may speak to: their nodes' URLs, their authority, and the user's token, in one file of the
user's alone.

`${XDG_CONFIG_HOME:-~/.config}/bcs/credentials.json`, mode 0600: {"sites": {NAME: {"urls", "ca", "token"}}}. BCS_TOKEN
and BCS_TOKEN_FILE win over its tokens; BCS_URL and BCS_CA_FILE stand for a site that it does not have. A token may lie
in the desktop's keyring instead (the optional library `keyring`): then the file holds none.
"""

from __future__ import annotations

import fcntl
import json
import os
import ssl
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.env import durable
from engine.env.endpoint import TlsEndpoint, host_and_port
from engine.model.errors import Refused, Unauthenticated, UsageError

TOKEN_CHARS_MAX = 512
KEYRING_SERVICE = "bcsctl"
_LOGIN = "`bcsctl login URL` signs in"


@dataclass(frozen=True, slots=True)
class Credential:
    """How to reach a site and as whom. `ca` is PEM; `token` is empty where nobody signed in."""

    site: str
    urls: tuple[str, ...]
    ca: str
    token: str = field(default="", repr=False)

    def endpoint(self) -> TlsEndpoint:
        """The site's nodes, known by their own authority alone."""
        return TlsEndpoint(self.urls, context_of(self.ca), self.token)


def context_of(ca: str) -> ssl.SSLContext:
    """A client's TLS 1.3 context that trusts one authority. UsageError when `ca` is no PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"the site's authority is no PEM certificate: {error}", hint=_LOGIN) from None
    return context


def path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "bcs" / "credentials.json"


def sites() -> list[str]:
    """The sites that this user has signed in to, by name."""
    return sorted(_read())


def read(site: str) -> Credential | None:
    """How to reach a site; None for one that is not known. Refused when the file, or the token's, is open to others."""
    entry = _read().get(site)
    if entry is None:
        return _of_environment(site)
    token = _environment_token() or str(entry.get("token") or "")
    if not token and entry.get("keyring"):
        token = _keyring().get_password(KEYRING_SERVICE, site) or ""
    urls = entry.get("urls")
    if not isinstance(urls, list) or not urls or not isinstance(entry.get("ca"), str):
        raise UsageError(f"{path()}: site '{site}' has no urls or no ca", hint=_LOGIN)
    return Credential(site, tuple(map(str, urls)), entry["ca"], token)


def write(site: str, urls: Sequence[str], ca: str, token: str, *, in_keyring: bool = False) -> None:
    """Remember how to reach a site, durably; what is known of others stays."""
    for url in urls:
        host_and_port(url)
    context_of(ca)
    if in_keyring:
        _keyring().set_password(KEYRING_SERVICE, site, token)
    kept = {"keyring": True} if in_keyring else {"token": token}
    with _changing() as known:
        known[site] = {"urls": list(urls), "ca": ca, **kept}


def forget(site: str) -> bool:
    """Remove a site's token, and how to reach it; whether it was known."""
    with _changing() as known:
        entry = known.pop(site, None)
    if entry is not None and entry.get("keyring"):
        _keyring().delete_password(KEYRING_SERVICE, site)
    return entry is not None


def read_secret(file: Path) -> str:
    """The token in a file of the user's own. Refused for one that others may read, UsageError for one without."""
    return check_token(_private(file).decode("utf-8", "replace"), str(file))


def check_token(text: str, where: str) -> str:
    """A token without the white space around it. UsageError for none; says nothing of what is there."""
    token = text.strip()
    if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii() or any(letter.isspace() for letter in token):
        raise UsageError(f"{where} holds no token", hint="a token is one word, as `bcsctl token create` prints it")
    return token


def _environment_token() -> str:
    text, file = os.environ.get("BCS_TOKEN"), os.environ.get("BCS_TOKEN_FILE")
    if text:
        return check_token(text, "BCS_TOKEN")
    return read_secret(Path(file).expanduser()) if file else ""


def _of_environment(site: str) -> Credential | None:
    url, ca, token = os.environ.get("BCS_URL"), os.environ.get("BCS_CA_FILE"), _environment_token()
    if not url:
        return None
    if not ca or not token:
        lacks = "BCS_CA_FILE" if not ca else "BCS_TOKEN_FILE"
        raise Unauthenticated(f"BCS_URL is set and {lacks} is not", hint=f"set {lacks} too, or use `bcsctl login`")
    return Credential(site, tuple(url.split(",")), Path(ca).expanduser().read_text("ascii"), token)


def _read() -> dict[str, dict[str, Any]]:
    try:
        content = _private(path())
    except FileNotFoundError:
        return {}
    try:
        known = json.loads(content)["sites"]
        if not isinstance(known, dict) or not all(isinstance(each, dict) for each in known.values()):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        # What it says is not repeated here: it may be a part of a secret.
        raise UsageError(f"{path()} is not what `bcsctl login` writes", hint=f"move it away; {_LOGIN}") from None
    return dict(known)


@contextmanager
def _changing() -> Iterator[dict[str, dict[str, Any]]]:
    """The sites by name, to be changed within the block and written at its end; one who changes them at a time."""
    file = path()
    durable.make_directories(file.parent, mode=0o700)
    lock = os.open(file.parent / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _read()
        yield known
        durable.replace(file, json.dumps({"sites": known}, indent=2).encode() + b"\n", mode=0o600)
    finally:
        os.close(lock)


def _private(file: Path) -> bytes:
    """The content of a file that nobody but this user (or root) owns and may read. Judged by what was opened."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        about = os.fstat(fd)
        if stat.S_ISREG(about.st_mode) and (about.st_mode & 0o077 or about.st_uid not in (os.geteuid(), 0)):
            raise Refused(
                f"{file} may be read by others, and holds a secret", hint=f"chmod 600 {file}; it must be yours"
            )
        with os.fdopen(os.dup(fd), "rb") as opened:
            return opened.read(1 << 20)
    finally:
        os.close(fd)


def _keyring() -> Any:
    try:
        import keyring  # type: ignore[import-not-found]
    except ImportError:
        raise UsageError(
            "the library 'keyring' is not installed", hint="install bcsctl[keyring], or keep the token in the file"
        ) from None
    return keyring
