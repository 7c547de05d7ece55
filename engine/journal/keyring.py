"""The journal's data keys, unwrapped as they are needed: one of the site for packs, one of each group for hashes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from engine.env.clock import Clock
from engine.env.randomness import token_bytes
from engine.format import keyring, names
from engine.journal import documents
from engine.model.errors import Damaged
from engine.store.base import AlreadyThere, Store

NUMBER = 1
"""The only key of a scope so far. Packs name the number of the key that seals them."""


class Keyring:
    """Keys by scope and number. Safe to use from several threads; holds what it has unwrapped in memory."""

    def __init__(self, store: Store, master_key: bytes) -> None:
        self._store = store
        self._master_key = master_key
        self._known: dict[tuple[str, int], bytes] = {}
        self._lock = threading.Lock()

    def site_key(self, number: int = NUMBER) -> bytes:
        """The key that packs' keys derive from. Raises Missing when it is lost, Refused for a wrong master key."""
        return self._key(names.SITE, number)

    def group_key(self, group: str) -> bytes:
        """The key of a group's extent hashes. Raises as `site_key` does."""
        return self._key(names.group_scope(group), NUMBER)

    def make_site_key(self, clock: Clock) -> bytes:
        """The site's key, made if there is none yet."""
        return self._make(names.SITE, clock)

    def make_group_key(self, group: str, clock: Clock) -> bytes:
        """A group's key, made if there is none yet."""
        return self._make(names.group_scope(group), clock)

    def wrap(self, secret: bytes, *, scope: str, number: int, created_at: int) -> dict[str, Any]:
        """The fields of a document that keeps another secret of 32 bytes under the master key."""
        return keyring.wrap(secret, self._master_key, scope=scope, number=number, created_at=created_at)

    def unwrap(self, fields: Mapping[str, Any], key: str) -> bytes:
        """The secret that `wrap` put into the document `key`. Refused for a wrong master key."""
        if names.data_key_key(str(fields.get("scope")), int(fields.get("number") or 0)) != key:
            raise Damaged(f"object {key} holds another key than its name says", details={"object": key})
        return keyring.unwrap(fields, self._master_key)

    def _make(self, scope: str, clock: Clock) -> bytes:
        with self._lock:
            known = self._known.get((scope, NUMBER))
        if known is not None:
            return known
        fields = keyring.wrap(
            token_bytes(keyring.KEY_BYTES), self._master_key, scope=scope, number=NUMBER, created_at=clock.now()
        )
        try:
            documents.put(self._store, names.data_key_key(scope, NUMBER), fields)
        except AlreadyThere:
            pass  # made before, or by another node just now: that one counts
        return self._key(scope, NUMBER)

    def _key(self, scope: str, number: int) -> bytes:
        with self._lock:
            known = self._known.get((scope, number))
        if known is not None:
            return known
        key = names.data_key_key(scope, number)
        fields = documents.get(self._store, key)
        if (fields.get("scope"), fields.get("number")) != (scope, number):
            raise Damaged(f"object {key} holds another key than its name says", details={"object": key})
        data_key = keyring.unwrap(fields, self._master_key)
        with self._lock:
            self._known[scope, number] = data_key
        return data_key
