"""Tokens of users, as the journal keeps them: what each is called, whose it is, how long it holds; of its secret the
hash alone.

A token reads `bcs_<id>_<secret>`. Each is made, and ended, by one numbered control object, so a restart and the
site's other nodes know of both. The objects are authenticated under the site's key: who can write to the store
can't make a token by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from engine.env import randomness
from engine.journal import documents, sealed
from engine.journal.open import Journal
from engine.model.errors import Damaged, NothingThere, Refused, UsageError
from engine.model.times import format_time

PREFIX = "control/tokens/"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
SECRET_BYTES = 32
_ID_BYTES = 6


@dataclass(frozen=True, slots=True)
class Token:
    """`hash` is SHA-256 of the whole text, hexadecimal. `user` may be empty: then only policies that name the token
    give it rights. Times in microseconds; `expires_at` 0 for never, `revoked_at` 0 for not revoked."""

    id: str
    name: str
    user: str
    hash: str
    created_at: int
    expires_at: int
    by: str
    revoked_at: int = 0

    def holds(self, now: int) -> bool:
        return not self.revoked_at and (not self.expires_at or now < self.expires_at)

    def as_json(self, now: int) -> dict[str, Any]:
        """The token as it may be shown: neither secret nor hash."""
        state = "revoked" if self.revoked_at else "valid" if self.holds(now) else "expired"
        return {
            "id": self.id, "name": self.name, "user": self.user or None, "state": state, "by": self.by,
            "created_at": format_time(self.created_at),
            "expires_at": format_time(self.expires_at) if self.expires_at else None,
            "revoked_at": format_time(self.revoked_at) if self.revoked_at else None,
        }  # fmt: skip


def secret_hash(text: str) -> str:
    """What is kept of a token's text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def create(journal: Journal, name: str, user: str, expires_at: int, by: str, now: int) -> tuple[Token, str]:
    """Make a token, durably; the token and its text, which nobody can be told again.

    Refused while one of that name holds: AccessPolicies go by the name. UsageError for a name that is none.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name[:80]}' can't be a token's name", hint="a letter or digit, then those and . _ -")
    if user and (not user.isprintable() or len(user) > 255):
        raise UsageError("a user's name is at most 255 printable characters")
    if expires_at and expires_at <= now:
        raise UsageError("the token would have ended already", hint="give a time in the future")
    if any(token.name == name and token.holds(now) for token in read(journal).values()):
        raise Refused(f"there is a token '{name}' already", hint="revoke it first, or choose another name")
    id_ = randomness.token_hex(_ID_BYTES)
    text = f"bcs_{id_}_{randomness.token_hex(SECRET_BYTES)}"
    token = Token(id_, name, user, secret_hash(text), now, expires_at, by)
    fields = {
        "act": "create", "id": id_, "name": name, "user": user, "hash": token.hash, "created_at": now,
        "expires_at": expires_at, "by": by,
    }  # fmt: skip
    sealed.take_next(journal, PREFIX, fields)
    return token, text


def revoke(journal: Journal, which: str, by: str, now: int) -> list[Token]:
    """End the token of that id, or those of that name, durably. NothingThere when none of them holds."""
    found = [token for token in read(journal).values() if which in (token.id, token.name) and token.holds(now)]
    if not found:
        raise NothingThere(f"there is no valid token '{which[:80]}'", hint="`bcsctl token list` lists them")
    for token in found:
        sealed.take_next(journal, PREFIX, {"act": "revoke", "id": token.id, "revoked_at": now, "by": by})
    return [replace(token, revoked_at=now) for token in found]


def read(journal: Journal, known: MutableMapping[int, dict[str, Any]] | None = None) -> dict[str, Token]:
    """All tokens by id. `known` are acts that were read before, by number; new ones are added to it.

    Raises Damaged for an object that is missing, or that this site did not write as it is: it may have been one that
    ended a token, so nobody can say which tokens hold.
    """
    acts = {} if known is None else known
    numbers = sealed.numbers(journal, PREFIX)
    missing = {*range(1, len(numbers) + 1), *acts}.difference(numbers)
    if missing:
        key = documents.numbered_key(PREFIX, min(missing))
        raise Damaged(f"object {key} is not there any more", hint="bring it back", details={"object": key})
    for number in numbers:
        if number not in acts:
            acts[number] = sealed.get(journal, PREFIX, number)
    return fold(acts[number] for number in numbers)


def fold(acts: Iterable[Mapping[str, Any]]) -> dict[str, Token]:
    """Tokens by id, from what was done in order."""
    known: dict[str, Token] = {}
    for act in acts:
        if act["act"] == "create" and act["id"] not in known:
            names = ("id", "name", "user", "hash", "created_at", "expires_at", "by")
            known[act["id"]] = Token(*(act[name] for name in names))
        elif act["id"] in known:
            known[act["id"]] = replace(known[act["id"]], revoked_at=act["revoked_at"])
    return known
