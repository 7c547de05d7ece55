"""Who a bearer's token stands for: one of the journal's, or an operator whose token's hash was deployed with the node.

Asked for each request, so both are kept in memory; what other nodes of the site did is read again every few seconds.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.env.clock import Clock
from engine.journal.open import Journal
from engine.node.callers import tokens
from engine.node.callers.tokens import Token, secret_hash

ADMINS = "admins/"
"""What the name of a deployed operator's token begins with; no other token's may hold a slash."""
REFRESH_SECONDS = 2.0
_TOKEN_CHARS_MAX = 512
_HASH_CHARS = 64


@dataclass(frozen=True, slots=True)
class User:
    """`name` is the user's, empty for a token that is nobody's; `token` what the token is called."""

    name: str
    token: str


@dataclass(slots=True)
class Users:
    """The users of a node. Safe to ask from any thread.

    `admins` is the directory of `<name>.sha256` files, each the hexadecimal SHA-256 of a token that may do everything.
    """

    journal: Journal
    admins: Path
    clock: Clock
    _tokens: dict[str, Token] = field(default_factory=dict)
    _deployed: dict[str, str] = field(default_factory=dict)
    _deployed_as_of: int = -1
    _acts: dict[int, dict[str, Any]] = field(default_factory=dict)
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def who(self, text: str) -> User | None:
        """Whom a token's text stands for, now; None for one that is unknown, has ended or was revoked."""
        if not text or len(text) > _TOKEN_CHARS_MAX:
            return None
        digest = secret_hash(text)
        with self._lock:
            found = self._tokens.get(digest)
        if found is not None:
            return User(found.user, found.name) if found.holds(self.clock.now()) else None
        name = self._read_deployed().get(digest)
        return User(name, f"{ADMINS}{name}") if name else None

    def refresh(self) -> None:
        """Read the journal's tokens again. Raises Damaged; then those that are known stay as they are."""
        with self._reading:
            known = tokens.read(self.journal, self._acts)
        with self._lock:
            self._tokens = {token.hash: token for token in known.values()}

    def create(self, name: str, user: str, expires_at: int, by: str) -> tuple[Token, str]:
        """Make a token; see engine.node.callers.tokens.create. It counts from now on."""
        made = tokens.create(self.journal, name, user, expires_at, by, self.clock.now())
        self.refresh()
        return made

    def revoke(self, which: str, by: str) -> list[Token]:
        """End a token, by name or id. It counts no more, from now on here, from the next reading on at other nodes."""
        ended = tokens.revoke(self.journal, which, by, self.clock.now())
        self.refresh()
        return ended

    def all(self) -> list[Token]:
        """Every token, the oldest first."""
        return sorted(tokens.read(self.journal).values(), key=lambda token: token.created_at)

    def _read_deployed(self) -> dict[str, str]:
        """Names by hash. The directory tells when a file came, went or was replaced."""
        try:
            as_of = self.admins.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        with self._lock:
            if as_of != self._deployed_as_of:
                self._deployed, self._deployed_as_of = _hashes(self.admins), as_of
            return self._deployed


def _hashes(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.sha256")):
        try:
            text = path.read_text("ascii", "replace").strip().lower()
        except OSError:
            continue  # whose it is can't sign in; all others can
        if len(text) == _HASH_CHARS and not set(text) - set("0123456789abcdef"):
            found[text] = path.stem
    return found
