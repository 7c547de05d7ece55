"""The end of a restore: one, and told once it is recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.journal.open import open_journal
from engine.node.restores import Restores
from engine.recovery.granting import CANCELLED, DONE, End, Grant, open_ones
from engine.store.local import LocalStore

GRANT = Grant("0" * 16, "g/a/files", "s" * 16, "1.9", 5, "quiet", None, "/srv", "b", "/srv/x", True, "ann", "here", 7)


def test_who_waits_for_a_restore_hears_of_its_end_once_it_is_recorded(tmp_path: Path) -> None:
    async def both() -> list[End | None]:
        restores = Restores(journal)
        restore = await restores.open(GRANT, None)
        seen: list[End | None] = []

        async def record() -> None:
            await asyncio.sleep(0)
            seen.append((await restores.find(GRANT.id)).end)
            assert open_ones(journal) == [GRANT], "a node that dies now hears of it again"

        ends = End(DONE, 9, "agent b"), End(CANCELLED, 10, "ann")
        told = await asyncio.gather(*(restores.close(restore, end, record) for end in ends))
        assert told == [True, False] and open_ones(journal) == []
        return [*seen, restore.end]

    with open_journal(LocalStore(tmp_path), bytes(range(32)), create=True) as journal:
        assert asyncio.run(both()) == [None, End(DONE, 9, "agent b")]
