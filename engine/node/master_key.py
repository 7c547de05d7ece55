"""A site's master key: made once, with the journal that it opens, and never replaced."""

from __future__ import annotations

import re
from pathlib import Path

from engine.env import durable
from engine.env.randomness import token_hex
from engine.model.errors import Failed

KEY_BYTES = 32


def ensure_master_key(home: Path, path: Path | None = None, journal: Path | None = None) -> Path:
    """The key's file, made when there is none and no journal that would need another.

    Key and journal are those below `home` unless they are named. Raises Failed when a journal is there but its key is
    not, or the file holds no key.
    """
    path, journal = path or home / "keys" / "master.key", journal or home / "journal"
    try:
        text = path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        if (journal / "bcs.json").exists():
            raise Failed(
                f"the journal in {journal} is there, but its key {path} is not",
                hint="put the saved copy of the key back; a new key could not open this journal",
            ) from None
        durable.make_directories(path.parent, mode=0o700)
        try:
            durable.create(path.parent, path.name, f"{token_hex(KEY_BYTES)}\n".encode(), mode=0o600)
        except FileExistsError:
            return ensure_master_key(home, path, journal)  # somebody else was faster: theirs holds
        return path
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        raise Failed(
            f"{path} does not hold a key of {2 * KEY_BYTES} hexadecimal digits",
            hint="put the saved copy of the key back",
        )
    return path
