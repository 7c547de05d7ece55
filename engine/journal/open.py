"""Opening a journal, or making one. One job: the store, the keys and the verified files of one journal, together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from engine.env.clock import SYSTEM, Clock
from engine.env.randomness import token_hex
from engine.format import keyring as key_format
from engine.format import names
from engine.journal import documents
from engine.journal.files import VerifiedFiles
from engine.journal.keyring import Keyring
from engine.journal.seen import Seen
from engine.model.errors import NothingThere, Refused
from engine.plan.access import Sight
from engine.store.base import AlreadyThere, Missing, Store
from engine.store.local import LocalStore

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Journal:
    """An open journal. As a `with` block it lets go of its copies of remote objects at the end.

    `seen` is what its reader may know of: None for everything.
    """

    id: str
    store: Store
    keyring: Keyring
    files: VerifiedFiles
    seen: Seen | None = None

    def close(self) -> None:
        self.files.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_journal(
    store: Store, master_key: bytes, *, create: bool = False, cache: Path | None = None, clock: Clock = SYSTEM
) -> Journal:
    """The journal in `store`; with `create` it is made if the store has none.

    `master_key` is 32 bytes. `cache` is where copies of remote metadata objects go. Raises NothingThere where there
    is none, Refused for another format or a master key that does not open it, Damaged.
    """
    key_format.check_length(master_key, "the master key")
    keyring = Keyring(store, master_key)
    if create:
        _create(store, keyring, clock)
    try:
        fields = documents.get(store, names.FORMAT)
    except Missing:
        raise NothingThere(
            "there is no journal in this store", hint="`bcsctl apply` makes one; or BCS_HOME names another place"
        ) from None
    if fields.get("format") != FORMAT:
        raise Refused(
            f"the journal has format {fields.get('format')}, this release knows format {FORMAT}",
            hint="use the release that wrote it, or a newer one",
        )
    keyring.site_key()
    return Journal(str(fields["journal"]), store, keyring, VerifiedFiles(store, cache))


def _create(store: Store, keyring: Keyring, clock: Clock) -> None:
    """The keys first: a journal that has its format document is complete."""
    if next(iter(store.list(names.FORMAT)), None) is not None:
        return
    keyring.make_site_key(clock)
    try:
        documents.put(store, names.FORMAT, {"format": FORMAT, "journal": token_hex(16), "created_at": clock.now()})
    except AlreadyThere:
        pass  # another process was first: it is the same journal


def open_local(root: Path, master_key: bytes, *, create: bool = False, clock: Clock = SYSTEM) -> Journal:
    """The journal in a local directory, as `open_journal`. Looking never makes the directory."""
    if not create and not root.is_dir():
        raise NothingThere(
            f"there is no journal at {root}", hint="`bcsctl apply` makes one; or BCS_HOME names another place"
        )
    return open_journal(LocalStore(root), master_key, create=create, clock=clock)


def seen_by(journal: Journal, sight: Sight) -> Journal:
    """The journal as somebody reads it who sees some groups alone."""
    return journal if sight.everything else replace(journal, seen=Seen(journal.store, sight))
