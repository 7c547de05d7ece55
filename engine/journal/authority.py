"""The site's authority in the journal, `keys/ca/1.json`: made once, its private key wrapped like the data keys.

All nodes of a site share it, and whoever has the journal and the master key has it again after a loss.
"""

from __future__ import annotations

from engine.env.clock import Clock
from engine.format import names
from engine.identity.authority import Authority, load_authority, make_authority
from engine.journal import documents
from engine.journal.keyring import NUMBER
from engine.journal.open import Journal
from engine.model.errors import Damaged, Refused
from engine.store.base import AlreadyThere, Missing

SCOPE = "ca"


def read_authority(journal: Journal) -> Authority | None:
    """The site's authority; None where none was made yet. Raises Damaged."""
    key = names.data_key_key(SCOPE, NUMBER)
    try:
        fields = documents.get(journal.store, key)
    except Missing:
        return None
    try:
        return load_authority(str(fields["certificate"]), journal.keyring.unwrap(fields, key))
    except (KeyError, ValueError) as error:
        raise Damaged(f"object {key} is no authority: {error}", details={"object": key}) from None


def ensure_authority(journal: Journal, site: str, clock: Clock) -> Authority:
    """The site's authority, made if there is none. Refused when the journal's is another site's."""
    found = read_authority(journal)
    if found is None:
        made, secret = make_authority(site, clock.now())
        fields = journal.keyring.wrap(secret, scope=SCOPE, number=NUMBER, created_at=clock.now())
        try:
            documents.put(journal.store, names.data_key_key(SCOPE, NUMBER), {**fields, "certificate": made.pem})
        except AlreadyThere:
            pass  # another node was first: theirs counts
        found = read_authority(journal)
        assert found is not None
    if found.site != site:
        raise Refused(
            f"the journal's authority is that of site '{found.site}', not of '{site}'",
            hint="node.json names the site, and where its journal is",
        )
    return found
