"""Whose received files are, as `--owners` said: a node sends the table, names on its right are this machine's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.env.accounts import known_here
from engine.env.processes import is_root
from engine.plan.owners import NONE, Owners, mapped_xattrs, nobody, resolved
from engine.wire.batch import Batch
from engine.wire.errands import owners_read


@dataclass(frozen=True, slots=True)
class Owning:
    """`kept`: whether files are given owners at all; `owners` whom else they belong to."""

    kept: bool
    owners: Owners | None = None

    def mapped(self, batch: Batch) -> Batch:
        """The batch with those owners."""
        inodes = batch.tables.get("inode")
        if self.owners is None or inodes is None:
            return batch
        changed = {
            **inodes,
            "uid": [self.owners.user(uid) for uid in inodes["uid"]],
            "gid": [self.owners.group(gid) for gid in inodes["gid"]],
            "xattrs": [mapped_xattrs(encoded, self.owners) for encoded in inodes["xattrs"]],
        }
        return replace(batch, tables={**batch.tables, "inode": changed})


def owning_of(told: object) -> Owning:
    """What a plan says of owners. UsageError for a table that names whom nobody knows here."""
    found = owners_read(told)
    if isinstance(found, tuple):
        return Owning(True, resolved(found, nobody, known_here))
    return Owning(found != NONE if found else is_root())
