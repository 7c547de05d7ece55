"""The numbers of this machine's users and groups."""

from __future__ import annotations

import grp
import pwd


def known_here(kind: str, name: str) -> int | None:
    """The number of a `user`, or else of a group, by name; None for one that is not known here."""
    try:
        return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid
    except KeyError:
        return None
